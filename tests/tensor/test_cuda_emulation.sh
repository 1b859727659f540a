# The CUDA kernels on a processor: compiled as C++ against tests/tensor/cuda_emulation and compared with the reference, each
# operation in all its cases, under AddressSanitizer. Takes minutes, so only with make soak; without it, the comparing
# program must build on a bare machine and say why it has nothing to compare.
. "$(dirname "$0")/../lib.sh"

cd "$root"
check "the comparison builds with a C compiler alone" "${CC:-gcc}" -std=c17 -D_GNU_SOURCE -O2 -Isrc -o "$work/ops_parity" \
    tests/tensor/ops_parity.c tests/tensor/ops_parity_cases.c src/tensor/cuda_open.c src/tensor/ref/attention_ref.c \
    src/tensor/ref/ops_ref.c src/tensor/host_memory.c src/base/err.c -ldl -lm
EDGESTILL_CUDA_LIBRARY=/nowhere/kernels.so expect 77 "without kernels it skips" "$work/ops_parity"
has "and says why" "$out" "skipped: the GPU kernels cannot be loaded: /nowhere/kernels.so"

if [ "${EDGESTILL_SOAK:-0}" != 1 ]; then
    skip "the kernels agree with the reference" "takes minutes: make soak"
elif ! command -v g++ >/dev/null; then
    skip "the kernels agree with the reference" "needs g++"
else
    check "the kernels compile for the emulation" g++ -std=c++17 -O1 -g -fsanitize=address -DEDGESTILL_CUDA_EMULATED \
        -Wno-unknown-pragmas -fPIC -shared -Itests/tensor/cuda_emulation -Isrc -o "$work/emulated.so" \
        -x c++ src/tensor/cuda/*.cu tests/tensor/cuda_emulation/emulation.cpp -x c src/base/err.c
    EDGESTILL_CUDA_LIBRARY=$work/emulated.so LD_PRELOAD=$(g++ -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
        expect 0 "the kernels agree with the reference" "$work/ops_parity"
    # Opening takes 2 allocations, the first case of attention's backward pass 11 for its arrays, 3 for the packing, 1 of scratch.
    for n in 0 1; do
        EMULATED_ALLOCATIONS=$n EDGESTILL_CUDA_LIBRARY=$work/emulated.so LD_PRELOAD=$(g++ -print-file-name=libasan.so) \
            expect 77 "without memory for allocation $((n + 1)) it does not open" "$work/ops_parity"
        has "and says so" "$out" "out of memory"
    done
    for n in 2 13 14 15 16; do
        EMULATED_ALLOCATIONS=$n EDGESTILL_CUDA_LIBRARY=$work/emulated.so LD_PRELOAD=$(g++ -print-file-name=libasan.so) \
            ASAN_OPTIONS=detect_leaks=0 expect 1 "without memory for allocation $((n + 1)) nothing looks like a result" \
            "$work/ops_parity" --only attention_backward
    done
fi
