#!/bin/bash
# The tests of what ends, again and again, while both cores are busy: a hang is rare, and a failure.
#     tests/rounds.sh 50
set -u
rounds=${1:-50}
python=${PYTHON:-.venv/bin/python}
tests=(tests/training/test_interrupted_training.py tests/data_tools/test_interrupted_verbs.py)
core='(saves_and_says_so and (validation or save)) or (error_ends_the_training and (step or validation))
  or (one_line_and_it_goes_on and shard)'
busy=()
trap 'kill "${busy[@]}"' EXIT
for _ in 1 2; do
  while :; do :; done &
  busy+=($!)
done
for round in $(seq "$rounds"); do
  echo "round $round of $rounds"
  OMP_NUM_THREADS=1 "$python" -m pytest -q -n 2 -m "slow or full" --durations=0 --durations-min=60 \
    -k "${core//$'\n'/ }" "${tests[@]}" || exit 1
done
