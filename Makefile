# Penstock: `make help` lists the targets.
#
# One file, no recursion.  CONFIG picks the tree: build/release (default), debug, asan, tsan, fuzz.

comma := ,

CONFIG ?= release
BUILD  ?= build/$(CONFIG)
GEN    := $(BUILD)/gen
PREFIX ?= /usr/local
VERSION := 0.1.0
SOVERSION := 0

CC     ?= cc
CFLAGS ?=
WERROR ?=
# V=1 prints whole commands
V      ?=
Q      := $(if $(V),,@)
say     = $(if $(V),@:,@printf '  %-6s %s\n' $(1) $@)

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Wno-missing-field-initializers $(if $(WERROR),-Werror)
HARDEN   := -D_FORTIFY_SOURCE=2 -fstack-protector-strong
MODE_release := -O2 -g $(HARDEN)
MODE_debug   := -Og -g3 -DPENSTOCK_FAULTS=1
MODE_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined \
                -DPENSTOCK_FAULTS=1
MODE_tsan    := -O1 -g -fno-omit-frame-pointer -fsanitize=thread -DPENSTOCK_FAULTS=1
MODE_fuzz    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link \
                -fno-sanitize-recover=undefined -DPENSTOCK_FAULTS=1
MODE := $(MODE_$(CONFIG))
ifeq ($(MODE),)
$(error CONFIG=$(CONFIG) is not one of release debug asan tsan fuzz)
endif

ALL_CFLAGS  := -std=c11 -D_GNU_SOURCE -I. -I$(GEN) -fPIC -fvisibility=hidden -pthread $(WARNINGS) $(MODE) \
               -DPENSTOCK_VERSION='"$(VERSION)"' $(CFLAGS)
ALL_LDFLAGS := -pthread $(filter -fsanitize%,$(MODE)) $(if $(filter release,$(CONFIG)),-Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now) $(LDFLAGS)
CODEC_LIBS  := -lz -llz4 -lzstd -lsnappy
EVENT_LIBS  := -levent_core -levent_pthreads
TEST_LIBS   := -lcmocka -ljansson
# librdkafka's mock cluster, for the one test that uses it; without the package that test skips itself
MOCK_LIBS   := $(if $(wildcard /usr/include/librdkafka/rdkafka_mock.h),-lrdkafka)

# --- sources: a new file in one of these folders is found by itself ---
SCHEMAS      := $(wildcard protocol/schema/*.msg)
GEN_HEADERS  := $(patsubst protocol/schema/%.msg,$(GEN)/msg/%.h,$(SCHEMAS))
GEN_SOURCES  := $(patsubst protocol/schema/%.msg,$(GEN)/msg/%.c,$(SCHEMAS))
COMMON_SRC   := $(wildcard common/*.c)
PROTOCOL_SRC := $(filter-out protocol/msgc.c,$(wildcard protocol/*.c))
BROKER_SRC   := $(filter-out broker/main.c,$(wildcard broker/*.c broker/*/*.c))
CLIENT_SRC   := $(wildcard client/*.c)
CLI_SRC      := $(wildcard client/cli/*.c)
SUPPORT_SRC  := $(wildcard tests/support/*.c)
# programs that test one part alone, and programs that test the library against a daemon they start
UNIT_SRC     := $(wildcard tests/unit/test_*.c tests/unit/*/test_*.c tests/unit/*/*/test_*.c \
                tests/integration/test_*.c)
FUZZ_SRC     := $(wildcard tests/fuzz/fuzz_*.c)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
COMMON_OBJ   := $(call objects,$(COMMON_SRC))
PROTOCOL_OBJ := $(call objects,$(PROTOCOL_SRC)) $(patsubst %.c,%.o,$(GEN_SOURCES)) $(GEN)/schemas.o
BROKER_OBJ   := $(call objects,$(BROKER_SRC))
CLIENT_OBJ   := $(call objects,$(CLIENT_SRC))
CLI_OBJ      := $(call objects,$(CLI_SRC))
SUPPORT_OBJ  := $(call objects,$(SUPPORT_SRC))
# parts of the command line that stand alone, for their unit tests
CLI_TEST_OBJ := $(BUILD)/client/cli/histogram.o
UNIT_BIN     := $(patsubst %.c,$(BUILD)/%,$(UNIT_SRC))
FUZZ_BIN     := $(patsubst %.c,$(BUILD)/%,$(FUZZ_SRC))

BASE_LIB   := $(BUILD)/libbase.a
BROKER_LIB := $(BUILD)/libbroker.a
CLIENT_A   := $(BUILD)/libpenstock.a
CLIENT_SO  := $(BUILD)/libpenstock.so

.PHONY: all help clean generated
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/penstockd $(BUILD)/penstock $(CLIENT_A) $(CLIENT_SO) ## build the daemon, the command line and the library (default)

help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

clean: ## remove every build tree
	rm -rf build

# --- generated code ---
MSGC := $(BUILD)/msgc

$(MSGC): protocol/msgc.c
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O1 -g $(WARNINGS) -o $@ $<

$(GEN)/msg/%.h $(GEN)/msg/%.c: protocol/schema/%.msg $(MSGC)
	@mkdir -p $(@D)
	$(call say,MSGC)
	$(Q)$(MSGC) $< $(GEN)/msg/$*.h $(GEN)/msg/$*.c

$(GEN)/schemas.c: $(SCHEMAS) $(MSGC)
	@mkdir -p $(@D)
	$(call say,MSGC)
	$(Q)$(MSGC) --list $@ $(SCHEMAS)

generated: $(GEN_HEADERS) $(GEN_SOURCES) $(GEN)/schemas.c

# --- compile: changed flags rebuild everything ---
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(subst ','\'',$(ALL_CFLAGS))' | cmp -s - $@ || echo '$(CC) $(subst ','\'',$(ALL_CFLAGS))' > $@
.PHONY: FORCE
FORCE:

$(BUILD)/%.o: %.c $(BUILD)/flags | $(GEN_HEADERS)
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(GEN)/%.o: $(GEN)/%.c $(BUILD)/flags | $(GEN_HEADERS)
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BASE_LIB): $(COMMON_OBJ) $(PROTOCOL_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(BROKER_LIB): $(BROKER_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(CLIENT_A): $(COMMON_OBJ) $(PROTOCOL_OBJ) $(CLIENT_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(CLIENT_SO): $(COMMON_OBJ) $(PROTOCOL_OBJ) $(CLIENT_OBJ)
	$(call say,LINK)
	$(Q)$(CC) -shared -Wl,-soname,libpenstock.so.$(SOVERSION) -o $@.$(SOVERSION) $^ $(ALL_LDFLAGS) $(CODEC_LIBS)
	$(Q)ln -sf $(@F).$(SOVERSION) $@

$(BUILD)/penstockd: $(BUILD)/broker/main.o $(BROKER_LIB) $(BASE_LIB)
	$(call say,LINK)
	$(Q)$(CC) -o $@ $^ $(ALL_LDFLAGS) $(EVENT_LIBS) $(CODEC_LIBS)

$(BUILD)/penstock: $(CLI_OBJ) $(CLIENT_A)
	$(call say,LINK)
	$(Q)$(CC) -o $@ $^ $(ALL_LDFLAGS) $(CODEC_LIBS)

# --- tests: every tests/unit/**/test_*.c and tests/integration/test_*.c is a program of its own ---
$(BUILD)/tests/integration/test_client_mock: TEST_LIBS += $(MOCK_LIBS)

$(UNIT_BIN): $(BUILD)/%: $(BUILD)/%.o $(SUPPORT_OBJ) $(BROKER_LIB) $(BUILD)/client.objs $(BASE_LIB)
	$(call say,LINK)
	$(Q)$(CC) -o $@ $< $(SUPPORT_OBJ) $(CLIENT_OBJ) $(CLI_TEST_OBJ) $(BROKER_LIB) $(BASE_LIB) $(ALL_LDFLAGS) $(EVENT_LIBS) $(CODEC_LIBS) $(TEST_LIBS)

$(BUILD)/client.objs: $(CLIENT_OBJ) $(CLI_TEST_OBJ)
	@mkdir -p $(@D)
	@touch $@

.PHONY: unit-bins
unit-bins: $(UNIT_BIN)

# --- checks ---
.PHONY: deps check check-unit check-integration check-sanitize check-clients lint demo install format
JOBS ?= 2

deps: ## install the packages needed to build and test (Debian, Ubuntu; needs root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends build-essential pkg-config \
	    libevent-dev zlib1g-dev liblz4-dev libzstd-dev libsnappy-dev libcmocka-dev libjansson-dev python3

check: all unit-bins lint-quick ## every quick test: unit, protocol vectors, integration with a real daemon
	tests/run --jobs $(JOBS) --build $(BUILD)

check-unit: unit-bins ## the unit tests alone
	tests/run --jobs $(JOBS) --build $(BUILD) --only unit

check-integration: all unit-bins ## the tests that run the daemon alone
	tests/run --jobs $(JOBS) --build $(BUILD) --only integration

check-sanitize: ## unit and integration tests under ASan+UBSan, unit and library tests under TSan
	$(MAKE) CONFIG=asan all unit-bins
	tests/run --jobs $(JOBS) --build build/asan
	$(MAKE) CONFIG=tsan all unit-bins
	tests/run --jobs $(JOBS) --build build/tsan --only unit
	tests/run --jobs $(JOBS) --build build/tsan test_client

check-clients: all ## tests with other people's Kafka clients, as far as this machine has them
	tests/clients/run --build $(BUILD)

.PHONY: lint-quick
lint-quick: conf/penstock.properties.check
	tests/lint/layers.sh

.PHONY: conf/penstock.properties.check
conf/penstock.properties.check: $(BUILD)/penstockd
	@$(BUILD)/penstockd --sample-config | cmp - conf/penstock.properties || \
	    { echo "conf/penstock.properties is not what options.def says: make conf"; exit 1; }

.PHONY: conf
conf: $(BUILD)/penstockd ## write conf/penstock.properties anew from options.def
	$(BUILD)/penstockd --sample-config > conf/penstock.properties

lint: lint-quick generated ## layers, headers that compile alone, clang-format, cppcheck
	tests/lint/headers.sh "$(CC)" "$(GEN)"
	tests/lint/format.sh
	tests/lint/cppcheck.sh "$(GEN)"

format: ## lay out all sources as .clang-format says
	git ls-files '*.c' '*.h' | xargs clang-format -i

demo: all ## start a broker, produce a file, consume it back, stop
	tests/demo.sh $(BUILD)

install: all ## install below $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	    $(DESTDIR)$(PREFIX)/include/penstock $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/man/man1 \
	    $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/doc/penstock
	install -m 755 $(BUILD)/penstockd $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 $(BUILD)/penstock $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(CLIENT_A) $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(CLIENT_SO).$(SOVERSION) $(DESTDIR)$(PREFIX)/lib/
	ln -sf libpenstock.so.$(SOVERSION) $(DESTDIR)$(PREFIX)/lib/libpenstock.so
	install -m 644 client/include/penstock/*.h $(DESTDIR)$(PREFIX)/include/penstock/
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' client/penstock.pc.in \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/penstock.pc
	install -m 644 conf/penstockd.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 conf/penstock.properties $(DESTDIR)$(PREFIX)/share/doc/penstock/
	sed 's|@PREFIX@|$(PREFIX)|' conf/penstock.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/penstock.service

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
