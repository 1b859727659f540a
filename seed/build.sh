#!/bin/sh
# The embedded models from nothing: trunk, then base and teacher from it, each resumable, then GGUF.
# Usage: seed/build.sh TRAINER EXPORTER FOLDER; the finished files are FOLDER/base.gguf and FOLDER/teacher.gguf.
set -eu
trainer=$1 exporter=$2 folder=$3
mkdir -p "$folder"
"$trainer" train trunk "$folder/trunk"
for model in base teacher; do
    "$trainer" train $model "$folder/$model" --from "$folder/trunk/checkpoint"
    "$exporter" $model "$folder/$model" "$folder/$model.gguf"
done
"$trainer" examine "$folder/teacher" 500
echo "Compare with seed/*.gguf, then copy: $folder/base.gguf $folder/teacher.gguf"
