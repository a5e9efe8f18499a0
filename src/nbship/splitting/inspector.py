"""Runs inside the kernel of the notebook that is split, and notes what each cell made or changed.

Its text is the first cell of a copy of the notebook, so it uses nothing of nbship and leaves one name behind.
Not imported by the rest of the room.
"""


def _nbship_inspect(path: str) -> None:  # noqa: C901 (all of it goes into one cell)
    import hashlib
    import io
    import json
    import os
    import pickle
    import sys
    import types
    from pathlib import Path
    from typing import Any

    from IPython import get_ipython

    shell = get_ipython()
    scalars: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "str"}
    seen: dict[str, Any] = {}
    opened: dict[str, bool] = {}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "sqlite3.connect") and isinstance(arguments[0], str):
            flags = arguments[2] if event == "open" else os.O_RDWR
            written = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
            place = os.path.abspath(arguments[0])  # noqa: PTH100 (as cheap as can be: every open comes here)
            opened[place] = opened.get(place, False) or written

    sys.addaudithook(watch)

    class Digest(io.RawIOBase):
        def __init__(self) -> None:
            self.size, self.hash = 0, hashlib.blake2b(digest_size=16)

        def write(self, part: Any) -> int:
            view = memoryview(part).cast("B")
            self.size += len(view)
            self.hash.update(view)
            return len(view)

    def digest(value: Any) -> tuple[Any, int, str]:
        sink = Digest()
        try:
            pickle.Pickler(sink, protocol=5).dump(value)
        except Exception as error:
            return (
                (id(value), type(value).__name__),
                0,
                f"{type(error).__name__}: {error}".splitlines()[0][:200],
            )
        return sink.hash.hexdigest(), sink.size, ""

    def table(frame: Any) -> dict[str, Any] | None:
        import pandas as pd
        from pandas.api import types as dtypes

        plain = type(frame.index) is pd.RangeIndex and frame.index.equals(pd.RangeIndex(len(frame)))
        freq = getattr(frame.index, "freqstr", None)
        texts = [c for c in frame if dtypes.is_object_dtype(frame[c])]
        usual = {"int64", "float64", "bool"}
        dates = [c for c in frame if dtypes.is_datetime64_any_dtype(frame[c])]
        other = {
            c: str(frame[c].dtype)
            for c in frame
            if c not in dates and c not in texts and str(frame[c].dtype) not in usual
        }
        options: dict[str, Any] = {
            "index": not plain or frame.index.name is not None,
            "texts": bool(texts or other),
            "dates": [*([0] if isinstance(frame.index, pd.DatetimeIndex) else []), *dates],
            "freq": freq if isinstance(frame.index, pd.DatetimeIndex) else None,
            "dtype": {**dict.fromkeys(texts, "str"), **other},
        }
        some = frame.head(max(2000, 200_000 // max(1, frame.shape[1])))
        for dtype in (other, options["dtype"]):
            back = io.StringIO()
            some.to_csv(back, index=options["index"])
            back.seek(0)
            more: dict[str, Any] = {"index_col": 0} if options["index"] else {}
            more |= {"keep_default_na": False, "na_values": [""]} if options["texts"] else {}
            again = pd.read_csv(
                back, float_precision="round_trip", dtype=dtype, parse_dates=options["dates"], **more
            )
            try:
                again = again.asfreq(options["freq"]) if options["freq"] else again
                pd.testing.assert_frame_equal(again, some, check_index_type=False, check_column_type=False)
            except (AssertionError, ValueError, TypeError):
                continue
            return {**options, "dtype": dtype}
        return None

    def described(value: Any) -> dict[str, Any]:
        module, name = type(value).__module__, type(value).__qualname__
        found = {"type": f"{module}.{name}".removeprefix("builtins."), "kind": "other"}
        if type(value) in scalars or (module == "numpy" and getattr(value, "shape", None) == ()):
            return found | scalar(value if type(value) in scalars else value.item())
        return found | (collection(module, name, value) or other(module, value))

    def scalar(value: Any) -> dict[str, Any]:
        finite = not isinstance(value, float) or abs(value) < float("inf")
        short = not isinstance(value, str) or len(value) < 10000
        return {"kind": scalars.get(type(value), "other") if finite and short else "object"}

    def collection(module: str, name: str, value: Any) -> dict[str, Any]:
        pd = sys.modules.get("pandas")
        if pd is not None and isinstance(value, pd.DataFrame):
            options = table(value)
            kind = {"kind": "table", "options": options} if options else {"kind": "object"}
            return kind | {"shape": "{:,} × {}".format(*value.shape)}
        if pd is not None and isinstance(value, pd.Series):
            options = table(value.to_frame("value") if value.name is None else value.to_frame())
            if options is not None:
                options["nameless"] = value.name is None
            kind = {"kind": "series", "options": options} if options else {"kind": "object"}
            return kind | {"shape": f"{len(value):,}"}
        if pd is not None and type(value) is pd.Index:
            return array("index", value.to_numpy()) if value.name is None else {"kind": "object"}
        if (module, name) == ("numpy", "ndarray"):
            return array("array", value) | {"shape": " × ".join(f"{n:,}" for n in value.shape)}
        if module.startswith("scipy.sparse"):
            return {"kind": "sparse", "shape": "{:,} × {}".format(*value.shape)}
        return {}

    def other(module: str, value: Any) -> dict[str, Any]:
        if hasattr(value, "fit") and hasattr(value, "get_params"):
            return {"kind": "model"}
        if module.partition(".")[0] in ("sklearn", "xgboost", "lightgbm", "catboost", "imblearn"):
            return {"kind": "object"}
        return container(value) if value is None or isinstance(value, (list, dict, tuple, set)) else {}

    def array(kind: str, value: Any) -> dict[str, Any]:
        if value.dtype.hasobject:
            texts = all(isinstance(item, str) for item in value.ravel()[:2000].tolist())
            return {"kind": kind, "options": {"texts": True}} if texts else {"kind": "object"}
        return {"kind": kind, "options": {"texts": False}}

    def container(value: Any) -> dict[str, Any]:
        try:
            text = json.dumps(
                list(value) if isinstance(value, set) else value, default=lambda v: v.item(), allow_nan=False
            )
            again = json.loads(text)
            make = "tuple" if type(value) is tuple else "set" if type(value) is set else ""
            if (tuple(again) if make == "tuple" else set(again) if make == "set" else again) == value:
                return {"kind": "json", "options": {"make": make} if make else {}}
        except Exception:  # noqa: S110 (then it is nothing that JSON keeps)
            pass
        items = [*value.values()] if isinstance(value, dict) else [*value] if value is not None else []
        flat = [part for item in items for part in (item if isinstance(item, tuple) else [item])]
        plain = all(hasattr(p, "fit") or type(p) in scalars or isinstance(p, list) for p in flat)
        if plain:  # estimators, or what JSON has no keys or numbers for
            return {"kind": "object"}
        return {"kind": "other", "why": "holds more than plain values"}

    def note(result: Any) -> None:  # noqa: ARG001 (IPython gives it)
        changed: dict[str, Any] = {}
        for name, value in list(shell.user_ns.items()):
            code = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
            if name.startswith("_") or name in shell.user_ns_hidden or isinstance(value, code):
                continue
            key, size, why = digest(value)
            if seen.get(name) == key:
                continue
            seen[name] = key
            try:
                found = described(value)
            except Exception as error:
                found = {"kind": "other", "type": type(value).__name__, "why": str(error)[:200]}
            changed[name] = {**found, "size": size, **({"kind": "other", "why": why} if why else {})}
        line = json.dumps({"names": changed, "opened": opened})
        opened.clear()
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    shell.events.register("post_run_cell", note)
