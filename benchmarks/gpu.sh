#!/usr/bin/env bash
# What the slot engine does on a GPU, in seven minutes, from a source tree alone: nothing is installed or downloaded.
#
#     bash benchmarks/gpu.sh [--tiny] [--traces FOLDER] [--seconds N] [--only WORDS] [--out FILE]
#
# Needs a Python (PYTHON=…) with torch, transformers and what the package depends on. `--tiny` runs the same on a CPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH="$PWD:$PWD/sim:$PWD/calibration:$PWD/integrations${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@" ${OUT:+--out "$OUT/gpu.json"}
