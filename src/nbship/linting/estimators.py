"""Which classes and functions of scikit-learn and its relatives leave something to chance, and when."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping

RANDOM_ARGUMENT = "random_state"
Arguments = Mapping[str, ast.expr]


def is_random(name: str, given: Arguments) -> bool:
    """Whether a call leaves something to chance unless it gets `random_state`.

    Args:
        name: The full name: `sklearn.cluster.KMeans`.
        given: Its arguments by name.
    """
    library, _, rest = name.partition(".")
    last = rest.rpartition(".")[2]
    if library == "sklearn":
        return last in SKLEARN and SKLEARN[last](given)
    return last in _RELATIVES.get(library, ())


def passes_seed_on(name: str) -> bool:
    """Whether a class seeds the estimators that it is given, as scikit-learn's ensembles do."""
    return bool(
        re.search(r"(Bagging|AdaBoost|EasyEnsemble|RUSBoost|Chain$|OutputCode)", name.rpartition(".")[2])
    )


def _value(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else ...


def _always(_: Arguments) -> bool:
    return True


def _is(name: str, *values: object) -> Callable[[Arguments], bool]:
    """Random only if an argument is written as one of some values."""
    return lambda given: _value(given.get(name)) in values


def _unless(name: str, *values: object) -> Callable[[Arguments], bool]:
    """Random unless an argument is written as one of some values."""
    return lambda given: _value(given.get(name)) not in values


def _given(name: str) -> Callable[[Arguments], bool]:
    """Random only if an argument is given that is no plain nothing."""
    return lambda given: name in given and _value(given[name]) not in (None, False, 0)


_ALWAYS = """
    AdaBoostClassifier AdaBoostRegressor AffinityPropagation BaggingClassifier BaggingRegressor
    BayesianGaussianMixture BernoulliRBM BisectingKMeans DecisionTreeClassifier DecisionTreeRegressor
    DictionaryLearning EllipticEnvelope ExtraTreeClassifier ExtraTreeRegressor ExtraTreesClassifier
    ExtraTreesRegressor FastICA GaussianMixture GaussianRandomProjection GradientBoostingClassifier
    GradientBoostingRegressor GroupShuffleSplit HalvingGridSearchCV HalvingRandomSearchCV IsolationForest
    IterativeImputer KMeans LatentDirichletAllocation MDS MLPClassifier MLPRegressor MinCovDet
    MiniBatchDictionaryLearning MiniBatchKMeans MiniBatchNMF MiniBatchSparsePCA Nystroem OutputCodeClassifier
    ParameterSampler PassiveAggressiveClassifier PassiveAggressiveRegressor PatchExtractor
    PolynomialCountSketch RANSACRegressor RBFSampler RandomForestClassifier RandomForestRegressor
    RandomTreesEmbedding RandomizedSearchCV RepeatedKFold RepeatedStratifiedKFold SGDClassifier
    SGDOneClassSVM SGDRegressor ShuffleSplit SkewedChi2Sampler SparsePCA SparseRandomProjection
    SpectralBiclustering SpectralClustering SpectralCoclustering StratifiedShuffleSplit TSNE
    affinity_propagation dict_learning_online extract_patches_2d fast_mcd fastica k_means kmeans_plusplus
    make_biclusters make_blobs make_checkerboard make_circles make_classification make_friedman1
    make_friedman2 make_friedman3 make_gaussian_quantiles make_hastie_10_2 make_low_rank_matrix make_moons
    make_multilabel_classification make_regression make_s_curve make_sparse_coded_signal
    make_sparse_spd_matrix make_sparse_uncorrelated make_spd_matrix make_swiss_roll mutual_info_classif
    mutual_info_regression permutation_importance randomized_range_finder randomized_svd resample
    sample_without_replacement shuffle smacof spectral_clustering
"""
# What of scikit-learn takes `random_state`, and when that matters.
SKLEARN: Mapping[str, Callable[[Arguments], bool]] = {
    **dict.fromkeys(_ALWAYS.split(), _always),
    **dict.fromkeys(["GroupKFold", "KFold", "StratifiedKFold", "StratifiedGroupKFold"], _is("shuffle", True)),
    **dict.fromkeys(
        ["fetch_covtype", "fetch_kddcup99", "fetch_rcv1", "learning_curve"], _is("shuffle", True)
    ),
    **dict.fromkeys(["SVC", "NuSVC"], _is("probability", True)),
    **dict.fromkeys(["LinearSVC", "LinearSVR"], _is("dual", True)),
    **dict.fromkeys(
        ["LogisticRegression", "LogisticRegressionCV"], _is("solver", "liblinear", "sag", "saga")
    ),
    **dict.fromkeys(["Ridge", "RidgeClassifier", "ridge_regression"], _is("solver", "sag", "saga")),
    **dict.fromkeys(
        [
            f"{task}{model}{cv}"
            for task in ("", "MultiTask")
            for model in ("Lasso", "ElasticNet")
            for cv in ("", "CV")
        ],
        _is("selection", "random"),
    ),
    **dict.fromkeys(
        ["HistGradientBoostingClassifier", "HistGradientBoostingRegressor"], _unless("early_stopping", False)
    ),
    **dict.fromkeys(["NMF", "non_negative_factorization"], _is("init", "random")),
    **dict.fromkeys(["ClassifierChain", "RegressorChain"], _is("order", "random")),
    **dict.fromkeys(
        ["GaussianProcessClassifier", "GaussianProcessRegressor"], _given("n_restarts_optimizer")
    ),
    **dict.fromkeys(["Lars", "LassoLars"], _given("jitter")),
    "DummyClassifier": _is("strategy", "stratified", "uniform"),
    "KernelPCA": _is("eigen_solver", "arpack", "randomized"),
    "NeighborhoodComponentsAnalysis": _is("init", "random"),
    "PCA": _is("svd_solver", "randomized", "arpack"),
    "TruncatedSVD": _unless("algorithm", "arpack"),
    "silhouette_score": _given("sample_size"),
    "train_test_split": _unless("shuffle", False),
}
_IMBLEARN = """
    ADASYN BalancedBaggingClassifier BalancedRandomForestClassifier BorderlineSMOTE ClusterCentroids
    EasyEnsembleClassifier InstanceHardnessThreshold KMeansSMOTE RUSBoostClassifier RandomOverSampler
    RandomUnderSampler SMOTE SMOTEENN SMOTEN SMOTENC SMOTETomek SVMSMOTE make_imbalance
"""
_RELATIVES: Mapping[str, frozenset[str]] = {
    "imblearn": frozenset(_IMBLEARN.split()),
    "umap": frozenset(["UMAP"]),
}
