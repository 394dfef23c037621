"""Single ops beside PyTorch's own, on the same memory in one process: products at the model's shapes, attention on packed
utterances against padded batches, an iteration of k-means. Needs build/bench_ops.so (npm run build:addon -- --target bench_ops).

    python bench/ops.py gemm attention kmeans --device cuda:0 --json ops.json

Every row has fresh random inputs, several sets of them in turn on a GPU, so that its cache does not hold them. Both sides' results
are compared first, ours in memory that was filled with NaN. Then they take turns; a run is as many calls as take some
milliseconds, from one synchronisation to the next. Medians of the runs count. Exits with 1 when results differ.
"""

import argparse
import ctypes
import json
import pathlib
import statistics
import sys
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

HEADS, HEAD_SIZE = 12, 64
TOLERANCE = {"fp32": 1e-4, "tf32": 1e-3, "bf16": 1e-2}


class View(ctypes.Structure):
    """native/view.h"""

    _fields_ = [("data", ctypes.c_void_p), ("dtype", ctypes.c_uint8)] + [
        (name, ctypes.c_int64)
        for name in ("batch", "rows", "cols", "batch_stride", "row_stride", "col_stride")
    ]


class Segments(ctypes.Structure):
    """native/ops.h"""

    _fields_ = [
        ("count", ctypes.c_int32),
        ("offsets", ctypes.c_void_p),
        ("device_offsets", ctypes.c_void_p),
    ]


def view(tensor):
    """Of a tensor of up to three dimensions, or of none."""
    if tensor is None:
        return View(None, 0, 1, 0, 0, 0, 0, 1)
    while tensor.dim() < 3:
        tensor = tensor[None]
    dtype = {torch.float32: 0, torch.bfloat16: 1}[tensor.dtype]
    return View(tensor.data_ptr(), dtype, *tensor.shape, *tensor.stride())


class Ops:
    """emoframe's ops on tensors of PyTorch."""

    def __init__(self, library, device, threads):
        self.library = ctypes.CDLL(str(library))
        self.library.opsCreate.restype = ctypes.c_void_p
        self.library.opsError.restype = ctypes.c_char_p
        self.backend = ctypes.c_void_p(self.library.opsCreate(device.encode(), threads))
        if not self.backend:
            self.fail()

    def fail(self):
        raise RuntimeError(self.library.opsError().decode())

    def bind(self, name, *arguments):
        """A call of an op with arguments made beforehand: tensors or None as views, anything else as it is."""
        held = [
            ctypes.byref(view(argument))
            if argument is None or isinstance(argument, torch.Tensor)
            else argument
            for argument in arguments
        ]
        function = getattr(self.library, name)

        def call():
            if function(self.backend, *held) != 0:
                self.fail()

        return call

    def synchronize(self):
        if self.library.opsSynchronize(self.backend) != 0:
            self.fail()


class Bench:
    def __init__(self, options):
        self.options = options
        self.device = torch.device(options.device)
        self.cuda = self.device.type == "cuda"
        self.ops = Ops(options.library, options.device, options.threads)
        self.sets = 3 if self.cuda else 1
        self.rows = []
        torch.manual_seed(options.seed)

    def random(self, *shape, dtype=torch.float32):
        return torch.randn(shape, device=self.device, dtype=dtype)

    def empty(self, *shape, dtype=torch.float32):
        return torch.full(shape, float("nan"), device=self.device, dtype=dtype)

    def synchronize(self):
        self.ops.synchronize()
        if self.cuda:
            torch.cuda.synchronize()

    def once(self, calls, count):
        """Milliseconds a call."""
        self.synchronize()
        started = time.perf_counter()
        for index in range(count):
            calls[index % len(calls)]()
        self.synchronize()
        return 1000 * (time.perf_counter() - started) / count

    def compare(self, part, name, ours, theirs, errors, tolerance, work):
        """`ours` and `theirs`: by the name of a way, a call for each set of inputs. `work`: floating-point operations."""
        worst = max(errors.values())
        counts, times = {}, {}
        sides = {"emoframe": ours, **theirs}
        for side, calls in sides.items():
            self.once(calls, len(calls))
            alone = self.once(calls, len(calls))
            counts[side] = max(1, min(1000, round(self.options.milliseconds / alone)))
            times[side] = []
        for _ in range(self.options.runs):
            for side, calls in sides.items():
                times[side].append(self.once(calls, counts[side]))
        medians = {side: statistics.median(values) for side, values in times.items()}
        best = min(theirs, key=medians.get)
        row = {
            "part": part,
            "name": name,
            "against": best,
            "milliseconds": medians["emoframe"],
            "theirs": medians[best],
            "ratio": medians[best] / medians["emoframe"],
            "teraflops": work / medians["emoframe"] / 1e9,
            "errors": errors,
            "agrees": worst <= tolerance,
            "runs": times,
        }
        self.rows.append(row)
        print(
            f"{part:9} {name:42} {row['milliseconds']:9.3f} ms {row['teraflops']:8.2f} TFLOP/s   "
            f"{best}: {row['theirs']:9.3f} ms   ratio {row['ratio']:.2f}   error {worst:.1e}"
            f"{'' if row['agrees'] else ' TOO LARGE'}",
            flush=True,
        )

    def gemm(self):
        frames = 250 if self.options.tiny else 17472  # 350 s of audio
        hidden, inner = 768, 3072
        shapes = [
            ("query, key, value", frames, 3 * hidden, hidden, "a bT"),
            ("attention's output", frames, hidden, hidden, "a bT"),
            ("feed-forward 1", frames, inner, hidden, "a bT"),
            ("feed-forward 2", frames, hidden, inner, "a bT"),
            ("feed-forward 1, input's gradient", frames, hidden, inner, "a b"),
            ("feed-forward 1, weight's gradient", inner, hidden, frames, "aT b"),
            ("query, key, value, weight's gradient", 3 * hidden, hidden, frames, "aT b"),
        ]
        for precision in ("bf16", "tf32", "fp32") if self.cuda else ("bf16", "fp32"):
            for name, m, n, k, form in shapes:
                self.product(name, m, n, k, form, precision)

    def product(self, name, m, n, k, form, precision):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        gradient = form == "aT b"
        sets = []
        for _ in range(self.sets):
            a = self.random(k, m, dtype=dtype).T if gradient else self.random(m, k, dtype=dtype)
            b = self.random(n, k, dtype=dtype).T if form == "a bT" else self.random(k, n, dtype=dtype)
            # Gradients of weights are f32, whatever the precision.
            out = self.empty(m, n, dtype=torch.float32 if gradient else dtype)
            sets.append((a, b, out, torch.empty(m, n, device=self.device, dtype=dtype)))
        tf32 = ctypes.c_int32(precision == "tf32")
        ours = [self.ops.bind("opsGemm", a, b, out, None, tf32) for a, b, out, _ in sets]
        theirs = [lambda a=a, b=b, out=out: torch.mm(a, b, out=out) for a, b, _, out in sets]
        self.once(ours, self.sets)
        errors = {"out": max(relative_error(out, a.float() @ b.float()) for a, b, out, _ in sets)}
        label = f"{name}, {m} x {n} x {k} {precision}"
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        self.compare("gemm", label, ours, {"torch.mm": theirs}, errors, TOLERANCE[precision], 2 * m * n * k)
        torch.backends.cuda.matmul.allow_tf32 = False

    def attention(self):
        seconds = 20 if self.options.tiny else 350
        for frames in [100, 500] if self.options.tiny else [100, 250, 500, 750, 1000, 1500]:
            self.varlen(f"T {frames}", [frames] * max(1, seconds * 50 // frames))
        generator = torch.Generator().manual_seed(self.options.seed)
        lengths = []
        while sum(lengths) < seconds * 50:
            lengths.append(int(torch.randint(100, 750, (1,), generator=generator)))
        self.varlen("mixed T 100 to 750", lengths)

    def varlen(self, name, lengths):
        dtype, width = torch.bfloat16, HEADS * HEAD_SIZE
        total, longest = sum(lengths), max(lengths)
        offsets = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        on_device = offsets.to(self.device)
        segments = ctypes.byref(Segments(len(lengths), offsets.data_ptr(), on_device.data_ptr()))
        heads = ctypes.c_int64(HEADS)
        present = (torch.arange(longest) < torch.tensor(lengths)[:, None]).to(self.device)
        mask = None if min(lengths) == longest else present[:, None, None]

        def padded(packed):
            out = torch.zeros(len(lengths), longest, width, device=self.device, dtype=packed.dtype)
            out[present] = packed
            return out.unflatten(2, (HEADS, HEAD_SIZE)).transpose(1, 2)

        forward, backward, peers, checks = [], [], [], []
        held = []  # views do not keep tensors
        for _ in range(self.sets):
            qkv, d_out = self.random(total, 3 * width, dtype=dtype), self.random(total, width, dtype=dtype)
            parts = qkv.split(width, 1)
            out, d_qkv = self.empty(total, width, dtype=dtype), self.empty(total, 3 * width, dtype=dtype)
            log_sum_exp = self.empty(total, HEADS)
            views = (View * 5)(*map(view, (*parts, out, log_sum_exp)))
            forward.append(self.ops.bind("opsAttentionForward", views, segments, heads))
            gradients = d_qkv.split(width, 1)
            backward.append(self.ops.bind("opsAttentionBackward", views, segments, heads, d_out, *gradients))
            leaves = [padded(part).detach().requires_grad_() for part in parts]
            peers.append((leaves, padded(d_out)))
            checks.append((out, d_qkv))
            held.append((qkv, log_sum_exp, d_out))
        self.once(forward, self.sets)
        self.once(backward, self.sets)
        errors = {"out": 0.0, "gradient": 0.0}
        for (out, d_qkv), (leaves, d_out) in zip(checks, peers):
            exact = [leaf.detach().float().requires_grad_() for leaf in leaves]
            result = scaled_dot_product_attention(*exact, attn_mask=mask)
            result.backward(d_out.float())
            rows = lambda tensor: tensor.transpose(1, 2).flatten(2)[present]
            errors["out"] = max(errors["out"], relative_error(out, rows(result)))
            wanted = torch.cat([rows(leaf.grad) for leaf in exact], 1)
            errors["gradient"] = max(errors["gradient"], relative_error(d_qkv, wanted))

        their_forward, their_backward = {}, {}
        ways = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
        for way in ways if self.cuda else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]:
            with sdpa_kernel(way):
                try:
                    results = [scaled_dot_product_attention(*leaves, attn_mask=mask) for leaves, _ in peers]
                    torch.autograd.grad(results[0], peers[0][0], peers[0][1], retain_graph=True)
                except RuntimeError:
                    continue  # it does not take masks, or is not there

            def run(leaves, way=way):
                with torch.no_grad(), sdpa_kernel(way):
                    scaled_dot_product_attention(*leaves, attn_mask=mask)

            def differentiate(result, leaves, d_out):
                torch.autograd.grad(result, leaves, d_out, retain_graph=True)

            label = f"SDPA {way.name.removesuffix('_ATTENTION').lower()}"
            their_forward[label] = [lambda leaves=leaves, run=run: run(leaves) for leaves, _ in peers]
            their_backward[label] = [
                lambda result=result, peer=peer: differentiate(result, *peer) for result, peer in zip(results, peers)
            ]
        work = 4 * HEAD_SIZE * HEADS * sum(length**2 for length in lengths)
        label = f"{name}, {len(lengths)} utterances bf16"
        one = {"out": errors["out"]}
        # PyTorch's own kernels take probabilities as bf16 too.
        self.compare("attention", f"{label}, forward", forward, their_forward, one, 1e-2, work)
        one = {"gradient": errors["gradient"]}
        self.compare("attention", f"{label}, backward", backward, their_backward, one, 1e-2, 2.5 * work)

    def kmeans(self):
        count = 5000 if self.options.tiny else self.options.points
        restarts = 2 if self.options.tiny else 20
        points = self.random(count, 768)
        for clusters in (50, 500):
            self.iteration(points, clusters, restarts)

    def iteration(self, x, clusters, restarts):
        """Of Lloyd's algorithm: the nearest centroids, sums and counts of members."""
        count, dimension = x.shape
        centroids = torch.stack([x[torch.randperm(count)[:clusters].to(x.device)] for _ in range(restarts)])
        labels = torch.full((restarts, count), -1, device=self.device, dtype=torch.int32)
        distance = self.empty(restarts, count)
        sums, counts = self.empty(restarts, clusters, dimension), self.empty(restarts, 1, clusters)
        pointer = ctypes.c_void_p(labels.data_ptr())
        ours = [self.ops.bind("opsAssignClusters", x, centroids, pointer, distance, sums, counts)]
        found = {}
        chunk = max(1, (1 << 30) // (4 * restarts * clusters))

        def torch_iteration():
            flat = centroids.flatten(0, 1)
            squares = flat.square().sum(1)
            their_sums = torch.zeros_like(flat)
            their_counts = torch.zeros(restarts * clusters, device=self.device)
            first = torch.arange(restarts, device=self.device) * clusters
            total = torch.zeros(restarts, device=self.device, dtype=torch.float64)
            their_labels = []
            for part in x.split(chunk):
                scores = torch.addmm(squares, part, flat.T, alpha=-2)
                least, nearest = scores.unflatten(1, (restarts, clusters)).min(2)
                total += (least + part.square().sum(1, keepdim=True)).sum(0, dtype=torch.float64)
                rows = nearest + first
                for restart in range(restarts):
                    their_sums.index_add_(0, rows[:, restart], part)
                their_counts += torch.bincount(rows.flatten(), minlength=restarts * clusters)
                their_labels.append(nearest)
            found.update(sums=their_sums, counts=their_counts, inertia=total, labels=their_labels)

        self.once(ours, 1)
        torch_iteration()
        apart = torch.cat(found["labels"]).T != labels
        errors = {
            "inertia": relative_error(distance.sum(1, dtype=torch.float64), found["inertia"]),
            # Points between two centroids may go to either: one in ten thousand at most.
            "labels": apart.double().mean().item() / 10,
            "sums": relative_error(sums.flatten(0, 1).sum(0), x.double().sum(0) * restarts),
            "counts": abs(counts.sum().item() / (restarts * count) - 1),
        }
        name = f"{count} x {dimension}, K {clusters}, {restarts} restarts fp32"
        work = 2 * count * dimension * clusters * restarts
        self.compare("kmeans", name, ours, {"PyTorch": [torch_iteration]}, errors, 1e-5, work)


def relative_error(found, expected):
    found, expected = found.double(), expected.double()
    error = (found - expected).norm() / expected.norm()
    return error.item() if error.isfinite() else float("inf")


def main():
    built = pathlib.Path(__file__).resolve().parents[1] / "build" / "bench_ops.so"
    parser = argparse.ArgumentParser(description="Single ops beside PyTorch's own.")
    parser.add_argument("parts", nargs="*", default=["gemm", "attention", "kmeans"], help="gemm, attention, kmeans (all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N (cpu)")
    parser.add_argument("--library", default=built, help=f"the library of ops ({built.name})")
    parser.add_argument("--threads", type=int, default=2, help="on the CPU (2)")
    parser.add_argument("--runs", type=int, default=9, help="timed runs of each side (9)")
    parser.add_argument("--milliseconds", type=float, default=10, help="that a run takes at least (10)")
    parser.add_argument("--points", type=int, default=1_250_000, help="of k-means (1250000)")
    parser.add_argument("--tiny", action="store_true", help="sizes that only try the program")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**31, help="of inputs (another each time)")
    parser.add_argument("--json", help="write all that was measured here")
    options = parser.parse_args()
    for part in options.parts:
        if part not in ("gemm", "attention", "kmeans"):
            parser.error(f"expected gemm, attention or kmeans but received {part}")
    torch.set_num_threads(options.threads)
    bench = Bench(options)
    problems = []
    for part in options.parts:
        try:
            getattr(bench, part)()
        except RuntimeError as error:  # an op that fails leaves the other parts to be run
            problems.append(f"{part}: {error}")
            print(problems[-1], file=sys.stderr)
        problems += [f"{row['name']}: results differ" for row in bench.rows if row["part"] == part and not row["agrees"]]
        if options.json:
            report = {"device": options.device, "seed": options.seed, "rows": bench.rows, "problems": problems}
            pathlib.Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(1 if problems else 0)


main()
