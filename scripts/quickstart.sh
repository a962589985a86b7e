#!/usr/bin/env bash
# The main job on MovieLens-100K, from an empty machine to answers and a report:
#   bash scripts/quickstart.sh                about 15 minutes on 2 cores, once everything is installed
#   bash scripts/quickstart.sh --minutes 2    the same road with 2 minutes of training in all
#   bash scripts/quickstart.sh --raw PATH     with a MovieLens-100K zip or folder that you have
#   bash scripts/quickstart.sh --out DIR      somewhere else than runs/quickstart
set -euo pipefail
minutes=12 raw="" out=runs/quickstart
usage() { sed -n '2,6s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=${2:?--minutes needs a number}; shift 2 ;;
    --raw) raw=${2:?--raw needs a path}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "quickstart: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
done
[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || { echo "quickstart: --minutes needs a number, not $minutes" >&2; exit 2; }
# Paths mean what they mean where the command was typed; the default is in the project.
[ -z "$raw" ] || raw=$(realpath -m -- "$raw")
[ "$out" = runs/quickstart ] || out=$(realpath -m -- "$out")
source "$(dirname "$0")/setup.sh" quickstart
cd "$root"

began=$SECONDS times=""
stage() { # stage NAME COMMAND…: runs it and keeps its time
  local name=$1 from=$SECONDS
  shift
  printf '\n── %s ──\n' "$name"
  "$@"
  times+=$(printf '%-10s %5d s' "$name" $((SECONDS - from)))$'\n'
}
share() { awk -v m="$minutes" -v s="$1" 'BEGIN { printf "%.3f", m * s }'; }

stage prepare p5t5 prepare ml-100k --attribute_explanations false --overwrite --out "$out/data" ${raw:+--raw "$raw"}
stage pretrain p5t5 pretrain --config configs/recipes/ml-100k-pretrain.yaml \
  --data "$out/data" --out "$out/pretrained" --restart --max_minutes "$(share 0.15)"
stage fine-tune p5t5 finetune --config configs/recipes/ml-100k.yaml \
  --data "$out/data" --model "$out/pretrained" --out "$out/model" --restart --max_minutes "$(share 0.85)"
stage evaluate p5t5 evaluate --data "$out/data" --model "$out/model" --out "$out/results.json"
stage report p5t5 report --results "$out/results.json" --data "$out/data" --model "$out/model" \
  --pretrained "$out/pretrained" --out "$out/report.html"

questions() {
  p5t5 query --model "$out/model" --k 5 "I loved Alien (1979) and Fargo (1996). What should I watch next?"
  p5t5 query --model "$out/model" --data "$out/data" "How many stars would user 42 give Toy Story (1995)?"
  p5t5 query --model "$out/model" --data "$out/data" "Would user 42 like Fargo (1996)?"
}
stage ask questions
printf '\n%s%-10s %5d s\n' "$times" total $((SECONDS - began))
echo "Everything is in $out: data/ pretrained/ model/ results.json report.html"
