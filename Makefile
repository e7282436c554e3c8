# Weir. `make help` lists what there is to make.
#
# Every room (folder) lists its sources in its own room.mk and becomes one static library; every program names the
# libraries it may use, so a forbidden dependency is a link error. Objects go to $(B); SAN= builds go to a folder of their own.

CC      ?= cc
SAN     ?=
B       ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))
V       ?=
comma   := ,
Q       := $(if $(V),,@)
VERSION := 0.1.0
WERROR  ?= -Werror
OPT     ?= $(if $(SAN),-O1,-O2) -g

CPPFLAGS += -I. -I$(B)/generated -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -I/usr/include/postgresql
CFLAGS   += -std=gnu17 $(OPT) -Wall -Wextra -Wshadow -Wformat=2 -Wconversion -Wno-sign-conversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wpointer-arith -Wvla $(WERROR) -fno-omit-frame-pointer \
            -fstack-protector-strong -fPIE $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=undefined,-D_FORTIFY_SOURCE=2)
LDFLAGS  += -pie -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN))

.DEFAULT_GOAL := all
programs :=
unit_tests :=
fuzz_targets :=
objects :=

# $(call library,NAME,FOLDER,SOURCES): $(B)/libNAME.a from FOLDER/SOURCES
define library
$(1)_objects := $(patsubst %.c,$(B)/%.o,$(patsubst ./%,%,$(addprefix $(2)/,$(3))))
objects += $$($(1)_objects)
$(B)/lib$(1).a: $$($(1)_objects)
	@echo "  AR      $$@"
	$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
# $(call program,NAME,FOLDER,SOURCES,LIBRARIES,SYSTEM LIBRARIES): $(B)/bin/NAME
define program
$(1)_objects := $(patsubst %.c,$(B)/%.o,$(patsubst ./%,%,$(addprefix $(2)/,$(3))))
objects += $$($(1)_objects)
programs += $(B)/bin/$(1)
$(B)/bin/$(1): $$($(1)_objects) $(patsubst %,$(B)/lib%.a,$(4))
	@echo "  LD      $$@"
	@mkdir -p $$(@D)
	$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$($(1)_objects) -Wl,--start-group $(patsubst %,$(B)/lib%.a,$(4)) -Wl,--end-group $(5)
endef
# $(call unit_test,NAME,LIBRARIES,SYSTEM LIBRARIES): tests/unit/test_NAME.c with libcheck
define unit_test
unit_tests += $(B)/unit/test_$(1)
objects += $(B)/tests/unit/test_$(1).o
$(B)/unit/test_$(1): $(B)/tests/unit/test_$(1).o $(patsubst %,$(B)/lib%.a,$(2))
	@echo "  LD      $$@"
	@mkdir -p $$(@D)
	$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$< -Wl,--start-group $(patsubst %,$(B)/lib%.a,$(2)) -Wl,--end-group $(3) -lcheck -lsubunit -lrt -lm -lpthread
endef
# $(call fuzz_target,NAME,SOURCE FILES UNDER TEST,SYSTEM LIBRARIES): tests/fuzz/fuzz_NAME.c with libFuzzer, everything instrumented
define fuzz_target
fuzz_targets += $(B)/fuzz/fuzz_$(1)
$(B)/fuzz/fuzz_$(1): tests/fuzz/fuzz_$(1).c $(2) | $(B)/generated/proto/weir.pb-c.h
	@echo "  FUZZ    $$@"
	@mkdir -p $$(@D)
	$(Q)clang $$(CPPFLAGS) -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -o $$@ $$(filter %.c,$$^) $(3)
endef

include common/room.mk proto/room.mk edge/room.mk scanner/room.mk scanner/mime/room.mk scanner/native/room.mk coordinator/room.mk deploy/room.mk tests/room.mk

all: $(programs)

$(B)/%.o: %.c | $(B)/generated/proto/weir.pb-c.h
	@echo "  CC      $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/generated/proto/weir.pb-c.h $(B)/generated/proto/weir.pb-c.c &: proto/weir.proto
	@echo "  PROTOC  $<"
	@mkdir -p $(B)/generated
	$(Q)protoc-c --c_out=$(B)/generated $<

$(B)/generated/%.o: $(B)/generated/%.c
	@echo "  CC      $<"
	$(Q)$(CC) $(CPPFLAGS) $(filter-out -Wconversion -Wshadow,$(CFLAGS)) -MMD -MP -c -o $@ $<

.SECONDARY:
-include $(wildcard $(objects:.o=.d))

unit-programs: $(unit_tests)
fuzz-programs: $(fuzz_targets)

check: $(unit_tests)                      ## unit tests (libcheck); SAN=address,undefined for a sanitizer build
	$(Q)tests/unit/run $(unit_tests)

check-integration: all                    ## integration and fault tests (pytest); K=name runs one
	$(Q)tests/integration/run $(if $(K),-k $(K))

SECONDS ?= 60
fuzz: $(fuzz_targets)                     ## every fuzz target for SECONDS (60) in all
	$(Q)tests/fuzz/run $(SECONDS) $(fuzz_targets)

bench: all                                ## throughput, latency percentiles, CPU per message beside the physical limit
	$(Q)tests/bench/run

compile_commands.json: Makefile           ## for editors (clangd)
	$(Q)$(MAKE) --always-make --dry-run V=1 $(objects) | tests/compile-commands >$@

clean:                                    ## remove what was built
	$(Q)rm -rf build build-*

help:
	@echo "  make            build everything, quietly; V=1 shows the commands"
	@sed -n 's/^\([a-z_.-]*\):.*## \(.*\)/  make \1 \t\2/p' Makefile | expand -t 32

.PHONY: all check check-integration fuzz bench clean help unit-programs fuzz-programs
