#!/usr/bin/env bash
# Builds the image, pushes it, and publishes the Flex Template.
#   templates/build.sh cpu|gpu IMAGE gs://BUCKET/templates/beam_export.json
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
variant=$1 image=$2 target=$3
cd "$(dirname "$0")/.."

docker build --file templates/Dockerfile --build-arg "VARIANT=$variant" --tag "$image" .
docker push "$image"
gcloud dataflow flex-template build "$target" \
    --image "$image" --sdk-language PYTHON --metadata-file templates/metadata.json
