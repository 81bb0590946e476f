#!/bin/bash
# On a node with internet: everything that a run needs, into one folder that the compute nodes see.
#
#   slurm/stage.sh FOLDER experiment=finetune init_from=nvidia/NitroGen +data.sources.mine.path=s3://…
#
# Packages as wheels (from slurm/requirements.lock), weights, and shards of sources that are URLs. Started
# again, it fetches what is missing. Then, without internet:
#
#   python3.11 -m venv VENV && VENV/bin/pip install --no-index --find-links FOLDER/wheels 'nitrogen-train[cluster]'
#   source VENV/bin/activate; source FOLDER/offline.sh; and submit what the last line says
set -euo pipefail

folder=$1
python=${NITROGEN_PYTHON:-python}
here=$(dirname "$(realpath "$0")")
mkdir -p "$folder/wheels"
"$python" -m pip download --quiet --dest "$folder/wheels" --requirement "$here/requirements.lock"
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder/wheels" "$here/.."
exec "$python" -m nitrogen_train.cli.fetch "$@"
