import os

import faiss
import numpy as np
from serve import iteration_times, serve

state = {}


def load(parameters):
    faiss.omp_set_num_threads(parameters["threads"])
    dimension = parameters["dimension"]
    state.update(
        parameters,
        points=np.fromfile(parameters["points"], np.float32).reshape(-1, dimension),
        start=np.fromfile(parameters["start"], np.float32).reshape(-1, dimension),
    )
    return {"versions": {"faiss": faiss.__version__}}


def fit(iterations):
    points, start = state["points"], state["start"]
    kmeans = faiss.Kmeans(
        points.shape[1],
        len(start),
        niter=iterations,
        nredo=1,
        # By default it looks at 256 points a cluster only.
        max_points_per_centroid=len(points),
    )
    kmeans.train(points, init_centroids=start)
    return kmeans.centroids


def run(parameters):
    centroids, times = iteration_times(fit, state["iterations"])
    path = os.path.join(parameters["output"], "faiss-centroids.f32")
    centroids.tofile(path)
    return {**times, "centroids": path}


serve({"load": load, "run": run})
