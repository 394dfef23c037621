"""Single ops beside PyTorch's own: those of the op table's cases of real sizes (build/op_table --perf), of families gemm, attention
and clusters.

    python bench/ops.py gemm attention clusters --device cuda:0 --json ops.json

The table says what each op is and hands over its tensors, from which PyTorch computes the same. Results are compared first. Then both
take turns, in a process each, the other one waiting; a run is as many calls as take some milliseconds, from one synchronisation to the
next. Medians of the runs count. Exits with 1 when results differ.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

FAMILIES = ("gemm", "attention", "clusters")
MILLISECONDS = 10  # that a run takes at least, as in test/ops/perf.h


class Table:
    """The op table in a process of its own: it describes an op, then times a run whenever asked to."""

    def __init__(self, options, folder, family):
        self.folder = folder
        command = [options.table, "--perf", "--family", family, "--device", options.device, "--threads", str(options.threads)]
        command += ["--seconds", str(options.seconds), "--turns", str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ops(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
                self.say("next")
            elif line.startswith("FAIL") or " not run: " in line:
                raise RuntimeError(line.strip())
        if self.process.wait() != 0:
            raise RuntimeError(f"op_table ended with exit code {self.process.returncode}")

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def run(self):
        """Milliseconds a call."""
        self.say("run")
        line = self.process.stdout.readline()
        try:
            return float(line)
        except ValueError:
            raise RuntimeError(line.strip() or "op_table ended") from None

    def tensor(self, op, name, device):
        """A tensor of the op as it lies in memory, of three dimensions, the first of them left out where it is 1."""
        view = op[name]
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[view["dtype"]]
        count = 1 + sum((size - 1) * stride for size, stride in zip(view["shape"], view["strides"]))
        memory = torch.from_file(str(self.folder / name), size=count, dtype=dtype).to(device, copy=True)
        tensor = memory.as_strided(view["shape"], view["strides"])
        return tensor[0] if view["shape"][0] == 1 else tensor


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.device = torch.device(options.device)
        self.cuda = self.device.type == "cuda"
        self.rows = []

    def family(self, name):
        table = Table(self.options, self.folder, name)
        try:
            for op in table.ops():
                tensors = {key: table.tensor(op, key, self.device) for key, field in op.items() if isinstance(field, dict)}
                make = {"Gemm": self.gemm, "Attention": self.attention, "AttentionBackward": self.attention_backward,
                        "AssignClusters": self.assign_clusters}[op["kind"]]  # fmt: skip
                self.compare(name, op, table, *make(op, **tensors))
        finally:
            table.process.kill()
            table.process.wait()

    def once(self, call, count):
        """Milliseconds a call."""
        if self.cuda:
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(count):
            call()
        if self.cuda:
            torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - started) / count

    def compare(self, part, op, table, theirs, errors):
        """`theirs`: a call by the name of each way that PyTorch has. `errors`: each with what it may be."""
        counts, times = {}, {"emoframe": []}
        for way, call in theirs.items():
            self.once(call, 1)
            counts[way] = max(1, min(1000, int(MILLISECONDS / self.once(call, 1))))
            times[way] = []
        for _ in range(self.options.runs):
            times["emoframe"].append(table.run())
            for way, call in theirs.items():
                times[way].append(self.once(call, counts[way]))
        torch.backends.cuda.matmul.allow_tf32 = False
        medians = {side: statistics.median(values) for side, values in times.items()}
        best = min(theirs, key=medians.get)
        row = {
            "part": part,
            "name": op["case"].partition("/")[2] + (", backward" if op["kind"].endswith("Backward") else ""),
            "op": op["op"],
            "against": best,
            "milliseconds": medians["emoframe"],
            "theirs": medians[best],
            "ratio": medians[best] / medians["emoframe"],
            "teraflops": op["flops"] / medians["emoframe"] / 1e9,
            "errors": {name: error for name, (error, _) in errors.items()},
            "agrees": all(error <= most for error, most in errors.values()),
            "runs": times,
        }
        self.rows.append(row)
        print(
            f"{part:9} {row['name']:42} {row['milliseconds']:9.3f} ms {row['teraflops']:8.2f} TFLOP/s   "
            f"{best}: {row['theirs']:9.3f} ms   ratio {row['ratio']:.2f}   error {max(row['errors'].values()):.1e}"
            f"{'' if row['agrees'] else ' TOO LARGE'}",
            flush=True,
        )

    def gemm(self, op, a, b, out):
        most = 1e-2 if a.dtype == torch.bfloat16 else 1e-3 if op["tf32"] else 1e-4
        errors = {"out": (relative_error(out, a.float() @ b.float()), most)}
        result = torch.empty(out.shape, device=self.device, dtype=a.dtype)
        torch.backends.cuda.matmul.allow_tf32 = op["tf32"]
        return {"torch.mm": lambda: torch.mm(a, b, out=result)}, errors

    def padded(self, op, *packed):
        """Of packed [T, H D]: batches [B, H, T, D] of their own, the mask of keys if there is padding, and how rows are found again."""
        lengths = torch.tensor(op["offsets"]).diff()
        present = (torch.arange(int(lengths.max())) < lengths[:, None]).to(self.device)
        batches = []
        for tensor in packed:
            batch = torch.zeros(*present.shape, tensor.shape[1], device=self.device, dtype=tensor.dtype)
            batch[present] = tensor
            batches.append(batch.unflatten(2, (op["heads"], -1)).transpose(1, 2).detach())
        mask = None if bool(present.all()) else present[:, None, None]
        return batches, mask, lambda batch: batch.transpose(1, 2).flatten(2)[present]

    def ways(self, leaves, mask, gradient=None):
        """The results of PyTorch's kernels that take these, by their names."""
        ways = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
        for way in ways if self.cuda else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]:
            with sdpa_kernel(way):
                try:
                    result = scaled_dot_product_attention(*leaves, attn_mask=mask)
                    if gradient is not None:
                        torch.autograd.grad(result, leaves, gradient, retain_graph=True)
                except RuntimeError:
                    continue  # it does not take masks, or is not there
            yield f"SDPA {way.name.removesuffix('_ATTENTION').lower()}", way, result

    # PyTorch's own kernels take probabilities as bf16 too.
    def attention(self, op, q, k, v, out):
        leaves, mask, rows = self.padded(op, q, k, v)
        exact = scaled_dot_product_attention(*[leaf.float() for leaf in leaves], attn_mask=mask)

        def run(way):
            with torch.no_grad(), sdpa_kernel(way):
                scaled_dot_product_attention(*leaves, attn_mask=mask)

        theirs = {name: lambda way=way: run(way) for name, way, _ in self.ways(leaves, mask)}
        return theirs, {"out": (relative_error(out, rows(exact)), 1e-2)}

    def attention_backward(self, op, q, k, v, out, dOut, dq, dk, dv):
        (*leaves, gradient), mask, rows = self.padded(op, q, k, v, dOut)
        for leaf in leaves:
            leaf.requires_grad_()
        exact = [leaf.detach().float().requires_grad_() for leaf in leaves]
        scaled_dot_product_attention(*exact, attn_mask=mask).backward(gradient.float())
        wanted = torch.cat([rows(leaf.grad) for leaf in exact], 1)
        theirs = {
            name: lambda result=result: torch.autograd.grad(result, leaves, gradient, retain_graph=True)
            for name, _, result in self.ways(leaves, mask, gradient)
        }
        return theirs, {"gradient": (relative_error(torch.cat([dq, dk, dv], 1), wanted), 1e-2)}

    def assign_clusters(self, op, x, centroids, distance, sums, counts):
        """An iteration of Lloyd's algorithm: the nearest centroids, sums and counts of members."""
        restarts, clusters, _ = centroids.shape
        first = torch.arange(restarts, device=self.device) * clusters
        found = {}

        def iteration():
            flat = centroids.flatten(0, 1)
            scores = torch.addmm(flat.square().sum(1), x, flat.T, alpha=-2)
            least, nearest = scores.unflatten(1, (restarts, clusters)).min(2)
            rows = nearest + first
            their_sums = torch.zeros_like(flat)
            for restart in range(restarts):
                their_sums.index_add_(0, rows[:, restart], x)
            inertia = (least + x.square().sum(1, keepdim=True)).sum(0, dtype=torch.float64)
            found.update(sums=their_sums, counts=torch.bincount(rows.flatten(), minlength=len(flat)), inertia=inertia)

        iteration()
        # Points between two centroids may go to either.
        return {"PyTorch": iteration}, {
            "inertia": (relative_error(distance.sum(1, dtype=torch.float64), found["inertia"]), 1e-5),
            "sums": (relative_error(sums.flatten(0, 1), found["sums"]), 1e-2),
            "counts": (relative_error(counts.flatten(), found["counts"]), 1e-2),
        }


def relative_error(found, expected):
    found, expected = found.double(), expected.double()
    error = (found - expected).norm() / expected.norm()
    return error.item() if error.isfinite() else float("inf")


def main():
    built = pathlib.Path(__file__).resolve().parents[1] / "build" / "op_table"
    parser = argparse.ArgumentParser(description="Single ops beside PyTorch's own.")
    parser.add_argument("families", nargs="*", default=FAMILIES, help=f"{', '.join(FAMILIES)} (all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N (cpu)")
    parser.add_argument("--table", default=built, help="the op table (build/op_table)")
    parser.add_argument("--threads", type=int, default=2, help="on the CPU (2)")
    parser.add_argument("--runs", type=int, default=9, help="timed runs of each side (9)")
    parser.add_argument("--seconds", type=float, default=0, help="of audio (10 on a CPU, 350 on a GPU)")
    parser.add_argument("--json", help="write all that was measured here")
    options = parser.parse_args()
    for family in options.families:
        if family not in FAMILIES:
            parser.error(f"expected gemm, attention or clusters but received {family}")
    torch.set_num_threads(options.threads)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, pathlib.Path(folder))
        for family in options.families:
            try:
                bench.family(family)
            except RuntimeError as error:  # an op that fails leaves the other families to be run
                problems.append(f"{family}: {error}")
                print(problems[-1], file=sys.stderr)
            problems += [f"{row['name']}: results differ" for row in bench.rows if row["part"] == family and not row["agrees"]]
            if options.json:
                report = {"device": options.device, "rows": bench.rows, "problems": problems}
                pathlib.Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(1 if problems or not bench.rows else 0)


main()
