#!/usr/bin/env bash
# Builds the images of workers and pushes them; given a third argument, publishes the Flex Template too.
#   templates/build.sh IMAGE TAG [gs://BUCKET/templates/beam_export.json]
# IMAGE:TAG-cpu and IMAGE:TAG-gpu are for workers, IMAGE:TAG-template launches jobs on them.
# EXTRAS (gcp,heif) names the extras of the package that the images have.
set -euo pipefail
[ $# -eq 2 ] || [ $# -eq 3 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
image=$1 tag=$2 target=${3:-}
cd "$(dirname "$0")/.."

# build NAME ARGUMENT...
build() {
    docker build --file templates/Dockerfile --build-arg "EXTRAS=${EXTRAS:-gcp,heif}" \
        --tag "$image:$tag-$1" "${@:2}" .
    docker push "$image:$tag-$1"
}

for variant in cpu gpu; do
    build "$variant" --target worker --build-arg "VARIANT=$variant"
done
[ -n "$target" ] || exit 0
build template --target template \
    --build-arg "CPU_IMAGE=$image:$tag-cpu" --build-arg "GPU_IMAGE=$image:$tag-gpu"
gcloud dataflow flex-template build "$target" \
    --image "$image:$tag-template" --sdk-language PYTHON --metadata-file templates/metadata.json
