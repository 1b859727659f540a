# edgestill's one build description. GNU make; `make help` lists what there is to ask for.
#
# Sources are found by wildcard: adding a file needs no change here. Set-up (packages of the system, llama.cpp) happens by
# itself before the first compilation and is skipped when done. docs/building.md explains the settings.

VERSION := 0.1.0

ifeq ($(filter else-if,$(.FEATURES)),)
$(error edgestill needs GNU make 3.81 or newer)
endif
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
SHELL := /bin/bash

# ---- Settings of the user -------------------------------------------------------------------------------------------

ifeq ($(origin CC),default)
CC := gcc
endif
ARM64_CC ?= aarch64-linux-gnu-gcc
SAN      ?=#    address,undefined or thread: a sanitizer build in a folder of its own
BLAS     ?= openblas#   openblas, or none: edgestill's own kernels alone
NO_CRYPTO ?= 0# 1: without libcrypto (make seed-tool only)
LLAMA_PREFIX ?=# a llama.cpp built by hand
PREFIX   ?= /usr/local
DESTDIR  ?=
ONLY     ?=#    folders of src/, for work on a part: ONLY="base task" builds and tests just these
WERROR   ?= 1#  0: let warnings of a compiler that we do not know pass
V        ?= 0#  1: print the commands
OPT      ?= -O2

ifeq ($(filter -j%,$(MAKEFLAGS))$(filter --jobserver%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-6s %s\n' $(1) $(2);)

# ---- Folders: the plain gcc build is in build/, each variant in one of its own ----------------------------------------

empty :=
space := $(empty) $(empty)
comma := ,
GEN := build/gen
SAN_NAME := $(subst $(comma),-,$(strip $(SAN)))
VARIANT := $(strip $(filter-out gcc,$(notdir $(firstword $(CC)))) $(if $(SAN_NAME),san-$(SAN_NAME)) \
             $(if $(filter none,$(BLAS)),noblas) $(if $(filter 1,$(NO_CRYPTO)),nocrypto))
B ?= build$(if $(VARIANT),/$(subst $(space),-,$(VARIANT)))

# ---- Set-up: packages, llama.cpp, and the flags that follow from them --------------------------------------------------

NO_SETUP_GOALS := help clean distclean tidy format seed-tool
goals := $(or $(MAKECMDGOALS),all)
ifneq ($(filter-out $(NO_SETUP_GOALS),$(goals)),)
NEED_SETUP := 1
endif

ifdef NEED_SETUP
include $(GEN)/host.mk
ifneq ($(LLAMA_LIBDIR),)
# Configure again when the prefix is gone or another one is asked for.
ifeq ($(wildcard $(LLAMA_LIBDIR)/libllama.so)$(wildcard $(LLAMA_LIBDIR)/libllama.dylib),)
$(GEN)/host.mk: FORCE
endif
ifneq ($(CONFIGURED_PREFIX),$(LLAMA_PREFIX))
$(GEN)/host.mk: FORCE
endif
endif
endif

SETUP_STAMP := $(GEN)/setup-$(shell cksum <tools/setup.sh | cut -d' ' -f1)

$(SETUP_STAMP):
	@mkdir -p $(@D)
	@tools/setup.sh
	@rm -f $(GEN)/setup-* && touch $@

$(GEN)/host.mk: $(SETUP_STAMP) tools/configure.sh tools/llama-prefix.sh
	@tools/configure.sh $(GEN) $(LLAMA_PREFIX)

# ---- Flags ------------------------------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wconversion -Wno-sign-conversion -Wshadow -Wvla $(if $(filter 1,$(WERROR)),-Werror)
# Warnings that are wrong about this code, where the compiler knows them: an 8-byte magic number without a final zero is
# what we mean, and under sanitizers gcc believes that every bounded snprintf could cut its text short.
knows = $(shell $(CC) -Werror -W$(1) -E -x c /dev/null >/dev/null 2>&1 && echo -Wno-$(1))
WARN += $(call knows,unterminated-string-initialization)
SAN_WARN := $(if $(SAN),$(call knows,format-truncation) $(call knows,stringop-truncation) $(call knows,maybe-uninitialized))
# Contraction to fused multiply-add changes results between compilers; the fast kernels ask for it themselves.
CFLAGS_ALL := -std=c17 -D_GNU_SOURCE $(OPT) -g -ffp-contract=off $(WARN) -pthread -ffunction-sections -fdata-sections \
              $(if $(filter none,$(BLAS)),-DEDGESTILL_NO_BLAS=1) $(if $(filter 1,$(NO_CRYPTO)),-DEDGESTILL_NO_CRYPTO=1)
LDFLAGS_ALL := -pthread -Wl,--gc-sections
ifneq ($(SAN),)
CFLAGS_ALL := $(subst $(OPT),-O1,$(CFLAGS_ALL)) -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all \
              -DEDGESTILL_DEBUG=1 $(SAN_WARN)
LDFLAGS_ALL += -fsanitize=$(SAN)
endif
INCLUDES := -Isrc -I$(GEN)
HOST_ALL := $(CFLAGS_ALL) $(INCLUDES) $(HOST_CFLAGS) $(BLAS_CFLAGS) $(LLAMA_CFLAGS) $(CFLAGS)
HOST_LD  := $(LDFLAGS_ALL) $(LLAMA_LDFLAGS) $(LDFLAGS)
HOST_LIBS := $(LLAMA_LDLIBS) -Wl,--as-needed $(HOST_LDLIBS) $(if $(filter none,$(BLAS)),,$(BLAS_LDLIBS)) -ldl -lm
RUN_LIBS  := $(LLAMA_LDLIBS) -Wl,--as-needed $(RUN_LDLIBS) -ldl -lm

# Kernels for one instruction set are named after it, foo_avx2.c, and chosen at run time.
FLAGS_avx2   := -O3 -mavx2 -mfma -mf16c -ffp-contract=fast
FLAGS_avx512 := -O3 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -ffp-contract=fast
FLAGS_avx512bf16 := $(FLAGS_avx512) -mavx512bf16
FLAGS_avx512vnni := $(FLAGS_avx512) -mavx512vnni
isa_flags = $(FLAGS_$(lastword $(subst _, ,$(basename $(notdir $(1))))))
fast_flags = $(if $(findstring src/tensor/fast/,$(1)),-O3)
# Newer cmocka calls its older names deprecated; Debian 12 has only those.
test_flags = $(if $(filter tests/% bench/%,$(1)),-Itests -I. -Wno-deprecated-declarations)
file_flags = $(fast_flags) $(test_flags) $(isa_flags)

# ---- Sources ------------------------------------------------------------------------------------------------------------

MACHINE := $(shell uname -m)
x86_only := %_avx2.c %_avx512.c %_avx512bf16.c %_avx512vnni.c
portable = $(if $(filter x86_64,$(MACHINE)),$(1),$(filter-out $(x86_only),$(1)))

LIB_SRC    := $(call portable,$(filter-out src/cmd/%,$(wildcard src/*/*.c src/*/*/*.c)))
CMD_SRC    := $(filter-out src/cmd/main.c,$(wildcard src/cmd/*.c))
MAIN_SRC   := $(wildcard src/cmd/main.c)
DEVICE_SRC := $(wildcard device/*.c)
RUNLIB_SRC := $(wildcard src/base/*.c src/task/*.c src/llama/*.c src/format/json.c src/format/node.c)
TEST_SRC   := $(wildcard tests/test_*.c tests/*/test_*.c)
HELPER_SRC := $(wildcard tests/*/make_*.c tests/*/serve_*.c)#  programs that shell tests use
SUPPORT_SRC := $(wildcard tests/support/*.c)
BENCH_LIB  := $(addprefix bench/, figures.c chain.c shapes.c serving.c device_parts.c device_race.c device_choice.c scatter.c planner_here.c train_rig.c \
                compressing.c compress_tools.c compress_large.c compress_forms.c compress_mixes.c \
                series.c teacher_checking.c temperature.c)
BENCH_SRC  := $(filter-out $(BENCH_LIB),$(wildcard bench/*.c))
SIM_SRC    := $(wildcard examples/simulate*.c)
SEED_SRC   := $(wildcard seed/*.c)
EXPORT_SRC := $(wildcard seed/export/*.c)
SEED_PARTS := $(filter-out seed/seed.c,$(SEED_SRC))
# The seed trainer must build with nothing but a C compiler, so the files that need llama.cpp or ggml stay out.
SEEDLIB_ALL := $(call portable,$(wildcard $(foreach d,base tensor nn train,src/$d/*.c src/$d/*/*.c)) $(wildcard src/format/node.c))
SEEDLIB_SRC := $(if $(SEEDLIB_ALL),$(shell grep -LE '^\#include [<"](llama/|model/|llama\.h|ggml|gguf|jansson)' $(SEEDLIB_ALL)))
ifeq ($(NO_CRYPTO),1)
SEEDLIB_SRC := $(filter-out src/base/hash.c,$(SEEDLIB_SRC))
endif

ifneq ($(strip $(ONLY)),)
LIB_SRC  := $(filter $(foreach d,$(ONLY),src/$d/%),$(LIB_SRC))
CMD_SRC  := $(filter $(foreach d,$(ONLY),src/$d/%),$(CMD_SRC))
TEST_SRC := $(filter $(foreach d,$(ONLY),tests/$d/%),$(TEST_SRC))
HELPER_SRC := $(filter $(foreach d,$(ONLY),tests/$d/%),$(HELPER_SRC))
MAIN_SRC :=
DEVICE_SRC :=
BENCH_SRC :=
SIM_SRC :=
EXPORT_SRC :=
PART := -$(subst $(space),-,$(strip $(ONLY)))
endif
LIB     := $(B)/libedgestill$(PART).a
CMD_LIB := $(B)/libedgestill-cmd$(PART).a
SEED_LIB := $(B)/libedgestill-seed.a

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
arm = $(patsubst %.c,build/arm64/obj/%.o,$(1))

PROGRAMS := $(if $(MAIN_SRC),$(B)/edgestill) $(if $(DEVICE_SRC),$(B)/edgestill-run)
EXPORTER := $(if $(EXPORT_SRC),$(B)/edgestill-seed-export)
SIMULATOR := $(if $(SIM_SRC),$(B)/edgestill-simulate)#  the examples' world; not installed
ifneq ($(ARM64_PREFIX),)
ARM_PROGRAMS := $(if $(DEVICE_SRC),build/arm64/edgestill-run)
endif
TESTS   := $(patsubst tests/%.c,$(B)/tests/%,$(TEST_SRC) $(HELPER_SRC))
BENCHES := $(patsubst bench/%.c,$(B)/bench/%,$(BENCH_SRC))

# ---- What there is to make --------------------------------------------------------------------------------------------

.PHONY: all tests check-programs test plain-runner soak demo check-nodes verify-teacher tidy format install uninstall clean distclean help seed-tool seed-models setup FORCE
FORCE:

all: $(LIB) $(PROGRAMS) $(SIMULATOR) $(EXPORTER) $(ARM_PROGRAMS) ## everything (the default)
setup: $(GEN)/host.mk ## packages and llama.cpp only
	@:
# With T=WORD those whose name has it, and what tests run that is none itself.
tests: $(if $(T),$(foreach t,$(TESTS),$(if $(findstring $(T),$(t))$(if $(filter test_%,$(notdir $(t))),,x),$(t))),$(TESTS)) ## build the test programs

# ---- Compiling: objects are written aside and renamed, so that two makes at once do no harm ----------------------------

compile = t=$@.$$$$; if $(1) -MMD -MP -MF $$t.d -MT $@ -c -o $$t $<; then mv -f $$t.d $(@:.o=.d) && mv -f $$t $@; \
          else rm -f $$t $$t.d; exit 1; fi

define stamp # $(1) file, $(2) text: rewritten when the text changes
$(1): FORCE
	@mkdir -p $$(@D); printf '%s\n' $(call quote,$(2)) >$$@.$$$$$$$$; \
	 if cmp -s $$@.$$$$$$$$ $$@; then rm -f $$@.$$$$$$$$; else mv -f $$@.$$$$$$$$ $$@; fi
endef
quote = '$(subst ','\'',$(1))'

$(eval $(call stamp,$(B)/obj/flags,$(CC) $(HOST_ALL)))
$(eval $(call stamp,$(B)/obj/link,$(HOST_LD) $(HOST_LIBS) $(RUN_LIBS)))
$(eval $(call stamp,$(B)/obj/lib-list$(PART),$(sort $(LIB_SRC) $(CMD_SRC) $(SUPPORT_SRC))))
$(eval $(call stamp,$(B)/obj/run-list,$(sort $(RUNLIB_SRC) $(DEVICE_SRC))))
$(eval $(call stamp,$(B)/obj/seed-list,$(sort $(SEEDLIB_SRC) $(SEED_SRC))))

$(B)/obj/%.o: %.c $(B)/obj/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(call compile,$(CC) $(HOST_ALL) $(call file_flags,$<))

archive = $(call say,AR,$@)rm -f $@.$$$$; ar rcs $@.$$$$ $(filter %.o,$^) && mv -f $@.$$$$ $@
link = t=$@.$$$$; if $(1) -o $$t $(filter %.o %.a,$^) $(2); then mv -f $$t $@; else rm -f $$t; exit 1; fi

$(LIB): $(call obj,$(LIB_SRC)) $(B)/obj/lib-list$(PART)
	$(archive)
$(CMD_LIB): $(call obj,$(CMD_SRC)) $(B)/obj/lib-list$(PART)
	$(archive)
$(B)/libedgestill-run.a: $(call obj,$(RUNLIB_SRC)) $(B)/obj/run-list
	$(archive)
# The device's own files without main(), for their tests.
DEVICE_LIB := $(if $(DEVICE_SRC),$(B)/libedgestill-device.a)
$(B)/libedgestill-device.a: $(call obj,$(filter-out device/main.c,$(DEVICE_SRC))) $(B)/obj/run-list
	$(archive)
$(SEED_LIB): $(call obj,$(SEED_PARTS)) $(B)/obj/seed-list
	$(archive)
$(B)/libtestsupport.a: $(call obj,$(SUPPORT_SRC)) $(B)/obj/lib-list$(PART)
	$(archive)

$(B)/edgestill: $(call obj,$(MAIN_SRC)) $(CMD_LIB) $(LIB) $(B)/obj/link
	$(call say,LD,$@)$(call link,$(CC) $(HOST_LD),$(HOST_LIBS))
$(B)/edgestill-simulate: $(call obj,$(SIM_SRC)) $(LIB) $(B)/obj/link
	$(call say,LD,$@)$(call link,$(CC) $(HOST_LD),$(HOST_LIBS))
$(B)/edgestill-run: $(call obj,$(DEVICE_SRC)) $(B)/libedgestill-run.a $(B)/obj/link
	$(call say,LD,$@)$(call link,$(CC) $(HOST_LD),$(RUN_LIBS))
$(B)/edgestill-seed-export: $(call obj,$(EXPORT_SRC)) $(SEED_LIB) $(LIB) $(B)/obj/link
	$(call say,LD,$@)$(call link,$(CC) $(HOST_LD),$(HOST_LIBS))
$(B)/tests/%: $(B)/obj/tests/%.o $(B)/libtestsupport.a $(if $(ONLY),$(if $(filter seed,$(ONLY)),$(SEED_LIB)),$(SEED_LIB)) $(DEVICE_LIB) $(CMD_LIB) $(LIB) $(B)/obj/link
	@mkdir -p $(@D)
	$(call say,LD,$@)$(call link,$(CC) $(HOST_LD),$(CMOCKA_LDLIBS) $(HOST_LIBS))
$(B)/bench/%: $(B)/obj/bench/%.o $(call obj,$(BENCH_LIB)) $(B)/libtestsupport.a $(SEED_LIB) $(CMD_LIB) $(LIB) $(B)/obj/link
	@mkdir -p $(@D)
	$(call say,LD,$@)$(call link,$(CC) $(HOST_LD),$(HOST_LIBS))

# ---- The device's program, for its architecture -------------------------------------------------------------------------

ARM64_ALL := -std=c17 -D_GNU_SOURCE $(OPT) -g -ffp-contract=off $(WARN) -pthread -ffunction-sections -fdata-sections \
             -Isrc -I$(GEN)/arm64 $(ARM64_CFLAGS)
$(eval $(call stamp,build/arm64/obj/flags,$(ARM64_CC) $(ARM64_ALL) $(ARM64_LDFLAGS) $(ARM64_LDLIBS)))

build/arm64/obj/%.o: %.c build/arm64/obj/flags
	@mkdir -p $(@D)
	$(call say,CC64,$<)$(call compile,$(ARM64_CC) $(ARM64_ALL))

build/arm64/edgestill-run: $(call arm,$(DEVICE_SRC) $(RUNLIB_SRC)) $(B)/obj/run-list
	$(call say,LD64,$@)$(call link,$(ARM64_CC) -pthread -Wl$(comma)--gc-sections $(ARM64_LDFLAGS),$(ARM64_LDLIBS) -lm)

# ---- The seed trainer: gcc, make and libc are enough (BLAS=none NO_CRYPTO=1) ---------------------------------------------

SEED_LIBS := $(if $(filter none,$(BLAS)),,$(or $(BLAS_LDLIBS),-lopenblas)) $(if $(filter 1,$(NO_CRYPTO)),,-lcrypto) -ldl -lm
seed-tool: build/edgestill-seed ## build/edgestill-seed, which trains the embedded models; needs no llama.cpp
# Writing the models as GGUF needs ggml, so that is a program of its own.
seed-models: seed-tool $(EXPORTER) ## train the embedded models anew (hours; resumable) into build/seed-models/
	@seed/build.sh build/edgestill-seed $(EXPORTER) build/seed-models
$(B)/seed/edgestill-seed: $(patsubst %.c,$(B)/seed/obj/%.o,$(SEED_SRC) $(SEEDLIB_SRC)) $(B)/obj/seed-list
	$(call say,LD,$@)$(call link,$(CC) $(LDFLAGS_ALL) $(LDFLAGS),$(SEED_LIBS))
build/edgestill-seed: $(B)/seed/edgestill-seed FORCE
	@cmp -s $< $@ || { cp $< $@.new && mv -f $@.new $@; }
SEED_ALL := $(CFLAGS_ALL) -Isrc $(shell pkg-config --cflags openblas 2>/dev/null) $(CFLAGS)
$(eval $(call stamp,$(B)/seed/obj/flags,$(CC) $(SEED_ALL)))
$(B)/seed/obj/%.o: %.c $(B)/seed/obj/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(call compile,$(CC) $(SEED_ALL) $(call file_flags,$<))

# ---- Tests, demonstration, measurements --------------------------------------------------------------------------------

export EDGESTILL_BUILD := $(abspath $(B))
# Sanitized runs take longer; a refused allocation is a case for the tests, not for the sanitizer; threads inside OpenBLAS
# and llama.cpp, which are not instrumented, are none of ours.
RUN_ENV := $(if $(SAN),EDGESTILL_TEST_SLOW=5 ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
             \
             TSAN_OPTIONS=ignore_noninstrumented_modules=1:allocator_may_return_null=1:die_after_fork=0)

# Bundles carry the plain build's runner, whichever variant makes and tests them.
ifneq ($(B),build)
plain-runner: all
	@$(MAKE) --no-print-directory CC=gcc SAN= BLAS=openblas NO_CRYPTO= B=build build/edgestill-run
tests: plain-runner
endif

test: all tests ## set up, build, run every test; T=WORD runs those whose name has WORD
	@$(RUN_ENV) tools/run-tests.sh $(B) '$(T)' $(ONLY)

soak: all tests ## the long repetitions
	@$(RUN_ENV) EDGESTILL_SOAK=1 tools/run-tests.sh $(B) '$(T)' $(ONLY)

demo: all ## the main job, end to end, on the embedded default
	@tools/demo.sh

check-nodes: tests ## where memory comes to lie on an emulated machine of two nodes (needs qemu-system-x86 and busybox-static)
	@tools/check-nodes.sh

verify-teacher: all ## try a teacher of yours: TEACHER_URL=…/v1 TEACHER_MODEL=… TEACHER_KEY_ENV=… (costs a little)
	@tools/verify-teacher.sh

bench-%: all $(BENCHES) ## bench-NAME: measures, writes build/bench/NAME.json
	@mkdir -p build/bench
	@if [ -f bench/$*.sh ]; then bash bench/$*.sh; elif [ -x $(B)/bench/$* ]; then $(B)/bench/$*; \
	 else echo "there is no bench/$*.sh or bench/$*.c; there is: $(sort $(basename $(notdir $(wildcard bench/*.sh bench/*.c))))" >&2; exit 2; fi

tidy: ## style: layers, sizes, formatting
	@tools/tidy.sh
format: ## clang-format over all C files
	clang-format -i $(shell git ls-files '*.c' '*.h')

# ---- Installing -------------------------------------------------------------------------------------------------------

install: all ## into DESTDIR/PREFIX (PREFIX=/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/edgestill/seed
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin/
	for f in $(wildcard seed/*.gguf); do install -m 644 $$f $(DESTDIR)$(PREFIX)/share/edgestill/seed/ || exit 1; done
	for d in catalog examples; do if [ -d $$d ]; then cp -R $$d $(DESTDIR)$(PREFIX)/share/edgestill/ || exit 1; fi; done
	if [ -n "$(ARM_PROGRAMS)" ]; then install -d $(DESTDIR)$(PREFIX)/share/edgestill/arm64 && \
	    install -m 755 $(ARM_PROGRAMS) $(DESTDIR)$(PREFIX)/share/edgestill/arm64/; fi
uninstall: ## the reverse
	rm -rf $(DESTDIR)$(PREFIX)/share/edgestill
	rm -f $(DESTDIR)$(PREFIX)/bin/edgestill $(DESTDIR)$(PREFIX)/bin/edgestill-run

compile_commands.json: $(GEN)/host.mk Makefile $(B)/obj/lib-list$(PART) ## for editors and clang tools
	@sep='['; for f in $(LIB_SRC) $(CMD_SRC) $(MAIN_SRC) $(DEVICE_SRC) $(SUPPORT_SRC) $(TEST_SRC) $(BENCH_SRC) $(BENCH_LIB) $(SIM_SRC) $(SEED_SRC) $(EXPORT_SRC); do \
	    printf '%s\n{"directory":"%s","file":"%s","command":"%s -Itests -c %s"}' "$$sep" "$(CURDIR)" "$$f" \
	        $(call quote,$(subst ",\",$(CC) $(HOST_ALL))) "$$f"; sep=,; \
	 done >$@.new; printf '\n]\n' >>$@.new; mv -f $@.new $@

clean: ## remove build/ (not the cache of llama.cpp packages, which is outside the tree)
	rm -rf build compile_commands.json
distclean: clean

help: ## this list
	@sed -nE 's/^([a-z][a-z%_.-]*):[^#]*## *(.*)/  make \1\t\2/p' Makefile | expand -t 30
	@echo; echo "Settings: ONLY='base task'  CC=clang  SAN=address,undefined|thread  BLAS=none  LLAMA_PREFIX=DIR  PREFIX= DESTDIR=  V=1"

-include $(shell find $(B)/obj $(B)/seed build/arm64/obj -name '*.d' 2>/dev/null)
