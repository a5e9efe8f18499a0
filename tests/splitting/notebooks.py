"""Notebooks to split, in the structure of public ones of Kale, Soorgeon, Elyra and textbooks.

Each is a text; a line `# %% tags…` begins a code cell, `# %% [markdown]` one of text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

_CELL = re.compile(r"^# %%[ ]?(.*)\n", re.MULTILINE)


def write_tables(root: Path) -> None:
    """Writes the tables that the notebooks read: passengers, flats, weather, and lines of text."""
    random = np.random.default_rng(7)
    rows = 240
    sex = random.choice(["male", "female"], rows)
    age = random.uniform(1, 70, rows).round(1)
    passengers = pd.DataFrame(
        {
            "PassengerId": range(1, rows + 1),
            "Pclass": random.integers(1, 4, rows),
            "Name": [f"Passenger, Mr. {i:03}" for i in range(rows)],
            "Sex": sex,
            "Age": np.where(random.random(rows) < 0.2, np.nan, age),
            "Fare": random.gamma(2, 15, rows).round(2),
            "Embarked": random.choice(["S", "C", "Q", None], rows, p=[0.6, 0.2, 0.15, 0.05]),
        }
    )
    passengers["Survived"] = ((sex == "female") ^ (random.random(rows) < 0.2)).astype(int)
    flats = pd.DataFrame(
        {"area": random.uniform(20, 150, rows).round(1), "rooms": random.integers(1, 6, rows)}
    )
    flats["district"] = random.choice(["north", "south", "west"], rows)
    flats["rent"] = (9 * flats["area"] + 80 * flats["rooms"] + random.normal(0, 60, rows)).round(0)
    weather = pd.DataFrame({"DATE": pd.date_range("2020-01-01", periods=rows, freq="6h").astype(str)})
    weather["temp"] = (10 + 5 * np.sin(np.arange(rows) / 20) + random.normal(0, 1, rows)).round(2)
    weather["wind"] = random.gamma(2, 2, rows).round(1)
    words = ["good", "bad", "fine", "awful", "film", "plot"]
    texts = [" ".join(random.choice(words, 6)) for _ in range(rows)]
    reviews = pd.DataFrame({"text": texts, "label": [int(t.count("good") > t.count("bad")) for t in texts]})
    (root / "data").mkdir(exist_ok=True)
    for name, table in {
        "titanic": passengers, "flats": flats, "weather": weather, "reviews": reviews
    }.items():  # fmt: skip
        table.to_csv(root / f"data/{name}.csv", index=False)


def write(path: Path, text: str, **metadata: object) -> Path:
    """Writes a notebook from the text of its cells."""
    _, *rest = _CELL.split(text)
    cells = []
    for number in range(0, len(rest), 2):
        tags, source = rest[number].split(), rest[number + 1].strip("\n")
        common = {"id": f"c{number // 2 + 1}", "source": source}
        if tags == ["[markdown]"]:
            cells.append({"cell_type": "markdown", "metadata": {}, **common})
        else:
            own = {"metadata": {"tags": tags}, "outputs": [], "execution_count": None}
            cells.append({"cell_type": "code", **own, **common})
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content))
    return path


# Kale's titanic: tagged cells, models side by side, a last step that compares them.
KALE_TITANIC = """
# %% [markdown]
# Titanic: predict survival
# %% imports
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
# %%
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
# %% pipeline-parameters
N_TREES = 20
MAX_ITER = 300
# %% step:load_data
path = "../data/"
PREDICTION_LABEL = "Survived"
train_df = pd.read_csv(path + "titanic.csv")
# %% skip
train_df.info()
# %% step:data_preprocessing prev:load_data
data = [train_df]
for dataset in data:
    dataset["Fare"] = dataset["Fare"].fillna(0).astype(int)
train_df = train_df.drop(["PassengerId", "Name"], axis=1)
# %%
train_df["Age"] = train_df["Age"].fillna(train_df["Age"].mean())
train_df["Embarked"] = train_df["Embarked"].fillna("S")
# %% step:feature_engineering prev:data_preprocessing
genders = {"male": 0, "female": 1}
ports = {"S": 0, "C": 1, "Q": 2}
train_df["Sex"] = train_df["Sex"].map(genders)
train_df["Embarked"] = train_df["Embarked"].map(ports)
# %%
train_labels = train_df[PREDICTION_LABEL]
train_df = train_df.drop(PREDICTION_LABEL, axis=1)
train_df.head(3)
# %% step:random_forest prev:feature_engineering
random_forest = RandomForestClassifier(n_estimators=N_TREES, random_state=0)
random_forest.fit(train_df, train_labels)
acc_random_forest = round(random_forest.score(train_df, train_labels) * 100, 2)
# %% step:logistic_regression prev:feature_engineering
logreg = LogisticRegression(solver="lbfgs", max_iter=MAX_ITER)
logreg.fit(train_df, train_labels)
acc_log = round(logreg.score(train_df, train_labels) * 100, 2)
# %% step:naive_bayes prev:feature_engineering
gaussian = GaussianNB()
gaussian.fit(train_df, train_labels)
acc_gaussian = round(gaussian.score(train_df, train_labels) * 100, 2)
# %% step:decision_tree prev:feature_engineering
decision_tree = DecisionTreeClassifier(max_depth=4, random_state=0)
decision_tree.fit(train_df, train_labels)
acc_decision_tree = round(decision_tree.score(train_df, train_labels) * 100, 2)
# %% step:results prev:random_forest prev:logistic_regression prev:naive_bayes prev:decision_tree
results = pd.DataFrame({
    "Model": ["Logistic Regression", "Random Forest", "Naive Bayes", "Decision Tree"],
    "Score": [acc_log, acc_random_forest, acc_gaussian, acc_decision_tree]})
result_df = results.sort_values(by="Score", ascending=False).set_index("Score")
print(result_df)
# %% pipeline-metrics
print(acc_random_forest)
"""

# Kale's candies: numbers alone, functions, names with underscores.
KALE_CANDIES = """
# %% imports
import random
# %% pipeline-parameters
CANDIES = 20
# %% functions
def get_handful(left):
    if left == 0:
        print("There are no candies left!")
        return 0
    return left // 3
# %% block:sack
print("Let's put in a bag %s candies" % CANDIES)
candies = CANDIES
# %% block:kid1 prev:sack
kid1 = get_handful(candies)
print("Kid1 got %s candies" % kid1)
# %% block:kid2 prev:kid1
kid2 = get_handful(candies - kid1)
print("Kid2 got %s candies" % kid2)
# %% block:kid3 prev:kid2
kid3 = get_handful(candies - kid1 - kid2)
print("Kid3 got %s candies out of %s" % (kid3, candies))
"""

# Soorgeon's machine-learning example: H2 headings, plots, two models.
SOORGEON_ML = """
# %% [markdown]
# Rents
# %%
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import train_test_split

plt.rcParams["figure.dpi"] = 50
# %%
SEED = 42  # of the split
DATA = "../data/flats.csv"
# %% [markdown]
## Load

The table has a row for each flat.
# %%
df = pd.read_csv(DATA)
df.head()
# %% [markdown]
## Clean
# %%
df["per_room"] = df.area / df.rooms
df = df[df.rent > 0]
df.describe()
# %%
df.rent.hist()
plt.show()
# %% [markdown]
## Split
# %%
y = df.rent
X = df.drop(["rent", "district"], axis="columns")
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=SEED)
X_train.shape, X_test.shape
# %% [markdown]
## Linear regression
# %%
lr = LinearRegression()
lr.fit(X_train, y_train)
# %%
mae_linear = mean_absolute_error(y_test, lr.predict(X_test))
print(f"{mae_linear:.3f}")
# %% [markdown]
## Random forest
# %%
rf = RandomForestRegressor(20, random_state=SEED)
rf.fit(X_train, y_train)
mae_forest = mean_absolute_error(y_test, rf.predict(X_test))
print(f"{mae_forest:.3f}")
# %% [markdown]
## Comparison
# %%
best = "forest" if mae_forest < mae_linear else "linear"
best, round(mae_forest, 3), round(mae_linear, 3)
# %%
plt.bar(["linear", "forest"], [mae_linear, mae_forest])
plt.show()
# %% [markdown]
## Conclusion

The better one is printed above.
"""

# What Soorgeon cannot do: functions that use globals, connections, loggers, a class, a lambda.
SOORGEON_GLOBALS = '''
# %%
import logging
import sqlite3

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

logger = logging.getLogger("rents")
logger.setLevel(logging.WARNING)
UNIT = "EUR"
# %%
def shout(text):
    """Says it loudly."""
    return text.upper() + UNIT

class Ratio(BaseEstimator, TransformerMixin):
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        return np.column_stack([X, X[:, 0] / X[:, 1]])

square = lambda value: value ** 2
# %% [markdown]
## 1. Read the database
# %%
connection = sqlite3.connect(":memory:")
flats = pd.read_csv("../data/flats.csv")
flats.to_sql("flats", connection, index=False)
threshold = flats.area.median()
# %% [markdown]
## 2. Features
# %%
def is_large(row):
    return row["area"] > threshold

flats["large"] = flats.apply(is_large, axis=1)
logger.warning("%s large", flats.large.sum())
print(shout("done "))
# %% [markdown]
## 3. Model
# %%
features = flats[["area", "rooms"]].to_numpy()
model = make_pipeline(Ratio(), Ridge(alpha=square(0.5)))
model.fit(features, flats["rent"])
logger.warning("fitted")
# %% [markdown]
## 4. Check
# %%
flats["large"].sum() == sum(is_large(row) for _, row in flats.iterrows())
# %%
print(shout("error "), model.predict(features[:3]).round(1))
'''

# Elyra's weather example: parts that hand files on, times, a forecast.
ELYRA_WEATHER = """
# %% [markdown]
# Weather at the airport
# %% [markdown]
## Part 1: clean the data
# %%
import pandas as pd
import numpy as np
# %%
raw = pd.read_csv("../data/weather.csv", parse_dates=["DATE"])
raw["temp"] = raw["temp"].replace(-99, np.nan)
raw.set_index("DATE").to_csv("weather_clean.csv")
# %% [markdown]
## Part 2: analyse
# %%
weather = pd.read_csv("weather_clean.csv", parse_dates=["DATE"], index_col=0)
daily = weather.resample("D").mean()
daily.head()
# %%
season = daily.index.month.astype("category")
monthly = daily.groupby(daily.index.month).temp.mean()
monthly.round(2)
# %% [markdown]
## Part 3: forecast
# %%
lagged = pd.concat({"today": daily.temp, "yesterday": daily.temp.shift(1)}, axis=1).dropna()
slope, offset = np.polyfit(lagged.yesterday, lagged.today, 1)
print(round(slope, 4), round(offset, 4))
# %%
forecast = [float(daily.temp.iloc[-1])]
for _ in range(3):
    forecast.append(round(slope * forecast[-1] + offset, 6))
forecast
# %%
with open("forecast.json", "w") as file:
    import json
    json.dump(forecast, file)
"""

# A textbook's end-to-end project: level-one headings, a stratified split, a search, a saved model.
TEXTBOOK_HOUSING = """
# %% [markdown]
# Chapter 2: end-to-end
# %% [markdown]
# Setup
# %%
import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVR

np.random.seed(42)
# %% [markdown]
# Get the data
# %%
def load_housing_data(folder="../data"):
    return pd.read_csv(folder + "/flats.csv")
# %%
housing = load_housing_data()
housing.info()
# %%
housing["area_cat"] = pd.cut(housing["area"], bins=[0, 50, 100, np.inf], labels=[1, 2, 3])
split = StratifiedShuffleSplit(n_splits=1, test_size=0.2, random_state=42)
for train_index, test_index in split.split(housing, housing["area_cat"]):
    strat_train_set = housing.loc[train_index]
    strat_test_set = housing.loc[test_index]
# %%
for set_ in (strat_train_set, strat_test_set):
    set_.drop("area_cat", axis=1, inplace=True)
# %% [markdown]
# Prepare the data
# %%
housing = strat_train_set.drop("rent", axis=1)
housing_labels = strat_train_set["rent"].copy()
num_attribs = ["area", "rooms"]
cat_attribs = ["district"]
# %%
num_pipeline = Pipeline([("imputer", SimpleImputer(strategy="median")), ("scaler", StandardScaler())])
full_pipeline = ColumnTransformer([
    ("num", num_pipeline, num_attribs),
    ("cat", OneHotEncoder(), cat_attribs),
])
housing_prepared = full_pipeline.fit_transform(housing)
housing_prepared.shape
# %% [markdown]
# Select and train a model
# %%
param_grid = [{"C": [1.0, 100.0], "kernel": ["linear"]}]
grid_search = GridSearchCV(SVR(), param_grid, cv=3, scoring="neg_mean_squared_error")
grid_search.fit(housing_prepared, housing_labels)
grid_search.best_params_
# %%
final_model = grid_search.best_estimator_
joblib.dump(final_model, "my_model.pkl")
# %% [markdown]
# Evaluate on the test set
# %%
X_test = strat_test_set.drop("rent", axis=1)
y_test = strat_test_set["rent"].copy()
final_predictions = final_model.predict(full_pipeline.transform(X_test))
final_rmse = np.sqrt(((final_predictions - y_test) ** 2).mean())
print(round(final_rmse, 3))
# %%
loaded = joblib.load("my_model.pkl")
np.allclose(loaded.predict(housing_prepared[:3]), final_model.predict(housing_prepared[:3]))
"""

# Kaggle: no headings, everything fitted before the split, a submission.
KAGGLE_FLOW = """
# %%
!ls ../data
%matplotlib inline
# %%
import pickle
import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
# %%
TEST_SIZE = 0.3
FEATURES = ["Pclass", "Age", "Fare", "female"]
# %%
df = pd.read_csv("../data/titanic.csv")
# %%
df.head()
# %%
df["female"] = df["Sex"] == "female"
df["Age"] = df["Age"].fillna(df["Age"].median())
# %%
scaler = StandardScaler()
X = scaler.fit_transform(df[FEATURES])
y = df["Survived"].values
# %%
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=TEST_SIZE, random_state=1)
# %%
model = GradientBoostingClassifier(n_estimators=15, random_state=1)
# %%
%time model.fit(X_train, y_train)
# %%
pickle.dump(model, open("model.pkl", "wb"))
# %%
predictions = model.predict(X_test)
accuracy = accuracy_score(y_test, predictions)
accuracy
# %%
confusion_matrix(y_test, predictions)
# %%
submission = pd.DataFrame({"PassengerId": df["PassengerId"], "Survived": model.predict(X)})
submission.to_csv("submission.csv", index=False)
"""

# A handbook's chapter on flowers: built-in data, no cuts at all, many plots.
HANDBOOK_IRIS = """
# %%
%matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.naive_bayes import GaussianNB
# %%
iris = load_iris(as_frame=True)
iris.frame.head()
# %%
X_iris = iris.data
y_iris = iris.target
species = list(iris.target_names)
# %%
fig, ax = plt.subplots()
ax.scatter(X_iris.iloc[:, 0], X_iris.iloc[:, 2], c=y_iris)
plt.show()
# %%
Xtrain, Xtest, ytrain, ytest = train_test_split(X_iris, y_iris, random_state=1)
# %%
pca = PCA(n_components=2)
projected = pca.fit_transform(X_iris)
plt.scatter(*projected.T, c=y_iris);
# %%
model = GaussianNB()
model.fit(Xtrain, ytrain)
# %%
scores = cross_val_score(GaussianNB(), X_iris, y_iris, cv=5)
scores.round(3)
# %%
y_model = model.predict(Xtest)
accuracy = accuracy_score(ytest, y_model)
accuracy
# %%
wrong = [species[int(i)] for i in y_model[y_model != ytest]]
wrong
"""

# Words: a sparse matrix, sets, tuples, texts.
TEXT_CLASSIFICATION = """
# %% [markdown]
## Data
# %%
import pandas as pd
reviews = pd.read_csv("../data/reviews.csv")
texts, labels = reviews["text"], reviews["label"].to_numpy()
# %% [markdown]
## Vectors
# %%
from sklearn.feature_extraction.text import CountVectorizer
vectorizer = CountVectorizer()
counts = vectorizer.fit_transform(texts)
vocabulary = set(vectorizer.vocabulary_)
shape = counts.shape
words = vectorizer.get_feature_names_out()
title = f"{shape[1]} words"
# %% [markdown]
## Gate
# %%
from sklearn.naive_bayes import MultinomialNB
classifier = MultinomialNB().fit(counts, labels)
print(title, sorted(vocabulary)[:2], shape, list(words[:2]))
# %% [markdown]
## Data
# %%
score = classifier.score(counts, labels)
score
"""

# Kale's newer example: functions that use what the notebook has, metrics at the end, cells that go on.
KALE_METRICS = """
# %% [markdown]
# Rents with Kale
# %% imports
import numpy as np
import pandas as pd
# %%
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
# %% pipeline-parameters
ALPHA = 1.0
FOLDS = 4
# %% functions
def fold_of(rows):
    return np.arange(len(rows)) % FOLDS
def rmse(actual, predicted):
    return float(np.sqrt(mean_squared_error(actual, predicted)))
# %% step:read
flats = pd.read_csv("../data/flats.csv")
# %%
flats["fold"] = fold_of(flats)
# %% step:fit prev:read
models = {}
for fold in range(FOLDS):
    rows = flats[flats.fold != fold]
    models[fold] = Ridge(alpha=ALPHA).fit(rows[["area", "rooms"]], rows.rent)
# %% skip
models[0].coef_
# %% step:score prev:fit
errors = []
for fold, model in models.items():
    rows = flats[fold_of(flats) == fold]
    errors.append(rmse(rows.rent, model.predict(rows[["area", "rooms"]])))
# %%
error = float(np.mean(errors))
print(round(error, 3))
# %% pipeline-metrics
print(error)
"""

# A textbook on regression: polynomials, a bootstrap, no tags; chapters with numbers and text in between.
TEXTBOOK_REGRESSION = """
# %% [markdown]
# Lab: resampling
# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
# %% [markdown]
## 5.3.1 The Validation Set
# %%
Auto = pd.read_csv("../data/flats.csv")
Auto.columns
# %%
Auto = Auto.rename(columns={"rent": "mpg", "area": "horsepower"})
rng = np.random.default_rng(3)
train = rng.choice(len(Auto), len(Auto) // 2, replace=False)
# %%
def eval_mse(degree, X=Auto, subset=train):
    chosen = X.iloc[subset]
    model = make_pipeline(PolynomialFeatures(degree), LinearRegression())
    model.fit(chosen[["horsepower"]], chosen.mpg)
    left = X.drop(X.index[subset])
    return np.mean((left.mpg - model.predict(left[["horsepower"]])) ** 2)
# %%
mse = [eval_mse(degree) for degree in range(1, 4)]
np.round(mse, 3)
# %% [markdown]
## 5.3.2 Cross-Validation
# %%
cv_error = np.zeros(5)
cv = KFold(n_splits=10, shuffle=True, random_state=0)
for i, degree in enumerate(range(1, 6)):
    model = make_pipeline(PolynomialFeatures(degree), LinearRegression())
    scores = cross_val_score(model, Auto[["horsepower"]], Auto.mpg, cv=cv, scoring="neg_mean_squared_error")
    cv_error[i] = -scores.mean()
cv_error.round(2)
# %%
plt.plot(cv_error);
# %% [markdown]
## 5.3.3 The Bootstrap
# %%
def boot_fn(D, idx):
    return LinearRegression().fit(D[["horsepower"]].iloc[idx], D.mpg.iloc[idx]).coef_[0]
# %%
def boot_SE(func, D, B=20, seed=0):
    rng = np.random.default_rng(seed)
    values = [func(D, rng.choice(D.index, len(D), replace=True)) for _ in range(B)]
    return np.std(values)
# %%
boot_SE(boot_fn, Auto).round(5)
# %% [markdown]
## Exercises
# %%
print(int(np.argmin(cv_error)) + 1, len(mse), boot_SE(boot_fn, Auto, seed=1).round(5))
"""

# Weeks of work: hidden state, cells never run, names used for several things, data read here and there.
MESSY = "".join(
    [
        "# %%\nimport pandas as pd\nimport numpy as np\nimport os\n",
        '# %%\nos.makedirs("out", exist_ok=True)\n!echo start\n',
        "# %% [markdown]\n## Explore\n",
        '# %%\ndf = pd.read_csv("../data/flats.csv")\n',
        *(f'# %%\ndf.groupby("district").rent.quantile(0.{n:02})\n' for n in range(1, 21)),
        "# %% [markdown]\n## Model one\n",
        '# %%\ndf = pd.read_csv("../data/flats.csv").dropna()\nX = df[["area"]]\n',
        "# %%\nfrom sklearn.linear_model import LinearRegression\n",
        "model = LinearRegression().fit(X, df.rent)\n",
        *(f"# %%\nprint(model.coef_ * {n})\n" for n in range(1, 16)),
        "# %% [markdown]\n## Model two\n",
        '# %%\nother = pd.read_csv("../data/titanic.csv")\nX = df[["area", "rooms"]]\n',
        "# %%\nmodel = LinearRegression().fit(X, df.rent)\n",
        *(f"# %%\nmodel.predict(X[:{n}]).round(1)\n" for n in range(1, 11)),
        "# %% [markdown]\n## Compare\n",
        "# %%\nresult = model.score(X, df.rent)\nround(result, 3), len(other)\n",
        "# %% skip\nundefined_before(result)\n",
    ]
)

ALL = {
    "kale-titanic": KALE_TITANIC,
    "kale-candies": KALE_CANDIES,
    "kale-metrics": KALE_METRICS,
    "textbook-regression": TEXTBOOK_REGRESSION,
    "soorgeon-ml": SOORGEON_ML,
    "soorgeon-globals": SOORGEON_GLOBALS,
    "elyra-weather": ELYRA_WEATHER,
    "textbook-housing": TEXTBOOK_HOUSING,
    "kaggle-flow": KAGGLE_FLOW,
    "handbook-iris": HANDBOOK_IRIS,
    "text-classification": TEXT_CLASSIFICATION,
    "messy": MESSY,
}
