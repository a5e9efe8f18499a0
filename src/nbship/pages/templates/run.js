"use strict";
// The page is whole without this: it copies commands, and opens a folded step that is linked to or printed.
for (const button of document.querySelectorAll(".commands button")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
function openLinked() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", openLinked);
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) { folded.open = true; }
});
openLinked();
