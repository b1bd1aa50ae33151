"""Compiles the sources of bundles and conformance cases for the GPU of this machine, as many at a time as it has cores.

    python3 build.py DIRECTORY...   # bundles (with kernels.cu), or directories of cases-<n>.cu
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

FLAGS = ["-gencode", "arch=compute_90a,code=sm_90a", "-std=c++17", "-diag-suppress=177", "-cubin"]


def compile_one(source):
    target = source.with_suffix(".cubin")
    made = subprocess.run(["nvcc", *FLAGS, "-o", str(target), str(source)], capture_output=True, text=True)
    if made.returncode != 0:
        return f"{source}: {made.stderr[:1500]}"
    manifest = source.parent / "manifest.json"
    if manifest.exists():
        content = json.loads(manifest.read_text())
        content["cuda"]["binary"] = target.name
        content["files"][target.name] = {"bytes": target.stat().st_size, "sha256": ""}
        manifest.write_text(json.dumps(content))
    return None


def main(directories):
    sources = sorted((s for d in directories for s in pathlib.Path(d).glob("*.cu")), key=lambda s: -s.stat().st_size)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [p for p in pool.map(compile_one, sources) if p]
    print(f"compiled {len(sources) - len(problems)} of {len(sources)} sources")
    for problem in problems:
        print(problem)
    return not problems


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
