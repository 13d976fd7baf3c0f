#!/bin/sh
# Samples of a training step with curl: two calls to a ComfyUI that has the pack.
#
#   sh curl.sh http://127.0.0.1:8188 train_flux.yaml my_run 500 [models.json]
#
# The run folder must lie below one of ComfyUI's loras folders, or below one listed under `eri_runs`.
set -eu
: "${4:?is missing. Usage: curl.sh URL CONFIG RUN STEP [MODELS.json]}"
url=$1 config=$2 run=$3 step=$4 models=${5:-}

# The config's text as a JSON string.
quoted() {
    awk 'BEGIN { printf "\"" }
         { gsub(/[\\"]/, "\\\\&"); gsub(/\t/, "\\t"); gsub(/\r/, "\\r"); printf "%s\\n", $0 }
         END { printf "\"" }' "$1"
}

queued=$(
    {
        printf '{"config": '; quoted "$config"
        printf ', "run": "%s", "step": %s, "models": ' "$run" "$step"
        if [ -n "$models" ]; then cat "$models"; else printf 'null'; fi
        printf '}'
    } | curl --silent --show-error --fail-with-body -H 'Content-Type: application/json' --data-binary @- \
        "$url/eridiffusion/queue"
) || { printf '%s\n' "$queued" >&2; exit 1; }

place=$(printf '%s' "$queued" | sed -n 's/.*"result": "\([^"]*\)".*/\1/p')
curl --silent --show-error --fail-with-body "$url$place?wait=300"
