#!/bin/bash
# `edgestill probe`: this machine measured, another one over a stand-in for ssh; the entry is one that the catalogue reads and the
# planner plans for, and a user's file is never touched.
. "$(dirname "$0")/../lib.sh"
export HOME=$work XDG_CONFIG_HOME=$work/none

expect 0 "this machine is measured" "$EDGESTILL" probe --as this-one --json
has "an entry for it" "$out" "name: this-one"
has "its memory's speed" "$out" "read_gbps"
has "how fast it reads prompts by type" "$out" "reads: {F16: ["
expect 0 "saved into a project" "$EDGESTILL" probe --as this-one --save -C .
expect 0 "the catalogue reads the entry" "$EDGESTILL" devices this-one -C .
has "with probe as the source" "$out" "edgestill probe"
expect 2 "an existing file is left alone" "$EDGESTILL" probe --as this-one --save -C .

expect 2 "an entry without a name" "$EDGESTILL" probe --as ''
expect 0 "of a machine with more, one core is ours" taskset -c "$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')" "$EDGESTILL" probe --as one
has "one is what the entry says, and what was measured" "$out" "cores: [1, probe]"
has "with as many threads" "$out" "GMAC/s of 1 thread:"

# A device that answers as a Raspberry Pi 5 would.
mkdir bin board
cat >bin/ssh <<'X'
#!/bin/sh
[ "$5" = -- ] && [ "$6" = pi@board ] || { echo "no such host"; exit 255; }
cat >/dev/null
printf 'arch=aarch64\nmodel=Raspberry Pi 5 Model B Rev 1.0\ncores=4\nmhz=2400\npart= 0xd0b\n'
printf 'flags= fp asimd asimddp\ntotal_kb=8260000\navailable_kb=7700000\ntemperature=51200\nthrottled=0x50000\nstorage=41 MB/s\n'
X
chmod +x bin/ssh
PATH=$work/bin:$PATH
expect 0 "a device over ssh" "$EDGESTILL" probe pi@board --as my-pi --save -C board
has "its cores" "$out" "core: cortex-a76"
has "dot products" "$out" "dotprod: yes"
has "throttling is said" "$out" "throttled"
expect 0 "the planner knows it" "$EDGESTILL" devices my-pi -C board
expect 1 "a host that does not answer" "$EDGESTILL" probe pi@nowhere
has "ssh's own words" "$err" "no such host"

# What a board says of itself goes into YAML as text; cores that the list does not have are not taken for fast ones.
answers() { # ARCH MODEL PART FLAGS
    printf '#!/bin/sh\ncat >/dev/null\ncat <<X\narch=%s\nmodel=%s\ncores=4\nmhz=1000\npart=%s\nflags=%s\ntotal_kb=4000000\navailable_kb=3000000\nX\n' "$@" >bin/ssh
}
answers aarch64 'Board "A: {1}' 0xd46 'fp asimd asimddp'
mkdir odd
expect 0 "a board with an odd name" "$EDGESTILL" probe a@b --as odd --save -C odd
has "cores that wait for memory" "$out" "core: cortex-a55"
expect 0 "the planner reads the name" "$EDGESTILL" devices odd -C odd
has "as it is" "$out" 'Board "A: {1}'
answers x86_64 'Intel(R) Atom(TM) CPU D525' '' 'fpu sse sse2'
expect 0 "an old processor" "$EDGESTILL" probe a@b --as old
has "without AVX2" "$out" "core: x86-before-avx2"
answers riscv64 'StarFive VisionFive 2' '' ''
expect 0 "a RISC-V board" "$EDGESTILL" probe a@b --as riscv
has "is taken for one without vectors" "$out" "core: sifive-p550"
