#!/bin/bash
# On a node with internet and a wandb account: send what runs have logged offline.
#
#   slurm/sync.sh runs/pretrain runs/lr
#
# Every start of a run has written a folder of its own; all are sent to the run's one id, in order of
# their starts. A folder that has been sent is marked, and not sent again.
set -euo pipefail

find "$@" -name wandb_id.txt -print0 | while IFS= read -r -d '' file; do
  run=$(dirname "$file")
  starts=()
  for start in "$run"/wandb/offline-run-*/; do
    compgen -G "$start*.synced" >/dev/null || starts+=("$start")
  done
  echo "$run: ${#starts[@]} to send"
  ((${#starts[@]} == 0)) ||
    "${NITROGEN_PYTHON:-python}" -m wandb sync --id "$(cat "$file")" "${starts[@]}" </dev/null
done
