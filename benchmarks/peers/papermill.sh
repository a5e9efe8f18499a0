# The auto-mpg pipeline as papermill commands, one after another. Run in a copy of the project.
set -e
mkdir -p executed
for step in auto-mpg/prepare auto-mpg/train shared/evaluate-regression; do
    papermill --cwd notebooks/auto-mpg "notebooks/$step.ipynb" "executed/$(basename "$step").ipynb"
done
