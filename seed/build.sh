#!/bin/sh
# The embedded models from nothing: a trunk; the base from it; a drill in comparing and then the teacher from it; each
# resumable, then GGUF.
# Usage: seed/build.sh TRAINER EXPORTER FOLDER; the finished files are FOLDER/base.gguf and FOLDER/teacher.gguf.
set -eu
trainer=$1 exporter=$2 folder=$3
mkdir -p "$folder"
"$trainer" train trunk "$folder/trunk"
"$trainer" train base "$folder/base" --from "$folder/trunk/checkpoint"
"$trainer" train drill "$folder/drill" --from "$folder/trunk/checkpoint"
"$trainer" train teacher "$folder/teacher" --from "$folder/drill/checkpoint"
for model in base teacher; do
    "$exporter" $model "$folder/$model" "$folder/$model.gguf"
done
"$trainer" examine "$folder/teacher" 500
echo "Compare with seed/*.gguf, then copy: $folder/base.gguf $folder/teacher.gguf"
