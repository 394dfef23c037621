import os
import warnings

import numpy as np
import sklearn
from serve import iteration_times, serve
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

state = {}


def load(parameters):
    dimension = parameters["dimension"]
    state.update(
        parameters,
        points=np.fromfile(parameters["points"], np.float32).reshape(-1, dimension),
        start=np.fromfile(parameters["start"], np.float32).reshape(-1, dimension),
    )
    warnings.simplefilter("ignore", ConvergenceWarning)
    # Its first fit starts threads and fills caches, for longer than an iteration takes.
    fit(1)
    return {"versions": {"scikit-learn": sklearn.__version__}}


def fit(iterations):
    kmeans = KMeans(
        len(state["start"]),
        init=state["start"],
        n_init=1,
        max_iter=iterations,
        tol=0,
        algorithm="lloyd",
    )
    kmeans.fit(state["points"])
    if kmeans.n_iter_ < iterations:
        raise RuntimeError(f"It had converged after {kmeans.n_iter_} iterations.")
    return kmeans.cluster_centers_


def run(parameters):
    centroids, times = iteration_times(fit, state["iterations"])
    path = os.path.join(parameters["output"], "sklearn-centroids.f32")
    centroids.astype(np.float32).tofile(path)
    return {**times, "centroids": path}


serve({"load": load, "run": run})
