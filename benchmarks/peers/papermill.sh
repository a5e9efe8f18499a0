# The auto-mpg pipeline as papermill commands, one after another. Run in a copy of the project.
set -e
mkdir -p executed
for step in prepare train evaluate; do
    papermill --cwd notebooks/auto-mpg "notebooks/auto-mpg/$step.ipynb" "executed/$step.ipynb"
done
