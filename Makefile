# The commands of the lab. `make` alone lists them; every one is a few lines of
# make around one script in scripts/.

STAGES := $(notdir $(wildcard labs/[0-9]*))
STAGE  ?=
WANTED := $(if $(STAGE),$(filter $(STAGE) $(STAGE)-%,$(STAGES)),$(STAGES))
$(if $(WANTED),,$(error no stage "$(STAGE)"; there are: $(STAGES)))

BENCHES := $(notdir $(wildcard scripts/bench-*))

LAB   ?= labs
BUILD ?= asan
# Tests wait more than they compute.
JOBS  ?= $(shell echo $$((2 * $$(nproc))))
PORT  ?= 8080

BENCH ?= echo

.PHONY: help run check test mutants starters grade hint diff bench explore fuzz tools clean
help:
	@echo 'An event-loop web server, built one stage at a time. Stages here:'
	@echo '  $(STAGES)' | fold -s -w 78
	@echo
	@echo '  make run               build the final server and serve www/ (PORT=8080)'
	@echo '  make check STAGE=01    grade your labs/01-...; ALL=1 shows every failure,'
	@echo '                         OWN=1 uses your earlier modules, BUILD=plain|asan|tsan'
	@echo '  make check             grade every stage'
	@echo '  make hint STAGE=01     the next hint (TODO=3 for a certain one)'
	@echo '  make diff A=01 B=02    what is new from one stage to the next'
	@echo '  make bench BENCH=echo  measure: $(BENCHES:bench-%=%)'
	@echo '  make explore STAGE=07  run the threads of a queue in every order that matters'
	@echo '  make fuzz STAGE=13     look for an input that breaks your parser (TIME=60; clang)'
	@echo '  make grade SUBMISSION=DIR.tgz STAGE=01   grade what nobody trusts, in a sandbox'
	@echo '  make test              prove the kit itself: starters, solutions, grader'
	@echo '  make mutants STAGE=01  show that the tests catch wrong solutions'
	@echo '  make starters          write labs/ from solutions/ (for authors)'
	@echo
	@echo 'Start with handouts/01-blocking-echo.md and labs/01-blocking-echo/echo.c.'

run:
	@$(MAKE) --no-print-directory -s -C solutions/14-web-server
	@echo 'serving www/ at http://127.0.0.1:$(PORT)/   (Ctrl-C ends it)'
	@solutions/14-web-server/webserver -p $(PORT) -d www

check: tools
	@failed=0; for stage in $(WANTED); do \
	    scripts/check -s $(LAB) -b $(BUILD) $(if $(OWN),-w) $(if $(ALL),-a) \
	        $$stage || failed=1; \
	done; \
	$(if $(word 2,$(WANTED)),scripts/summary build/check/*.json;) exit $$failed

# Options of scripts/grade in GRADE, say GRADE='-f junit'.
grade: tools
	$(if $(SUBMISSION),,$(error which submission? make grade SUBMISSION=FOLDER_OR_ARCHIVE))
	@scripts/grade $(GRADE) $(SUBMISSION) $(STAGE)

# The charts go to www/bench.html.
bench: tools
	$(if $(filter bench-$(BENCH),$(BENCHES)),,$(error no bench "$(BENCH)"; \
	    there are: $(BENCHES:bench-%=%)))
	@scripts/bench-$(BENCH)

# Runs threads in every order that matters: handouts/explorer.md.
explore:
	$(if $(filter 07-% 08-%,$(firstword $(WANTED))),,$(error only the queues can be \
	    explored: make explore STAGE=07, or STAGE=08; or see tests/explore/run -h))
	@tests/explore/run $(LAB)/$(firstword $(WANTED)) $(SCENARIO)

# Looks for an input that breaks the parser, for TIME seconds; needs clang.
fuzz:
	@LAB=$(LAB) TIME=$(or $(TIME),60) scripts/fuzz $(STAGE)

hint:
	@scripts/hint $(firstword $(WANTED)) $(TODO)

diff:
	@scripts/starters -c -o build/diff $(notdir $(wildcard solutions/$(A)-* solutions/$(B)-*))
	@cd build/diff && git --no-pager diff --no-index --stat -p $(A)-* $(B)-* || true

# The kit's own tests. Each part writes build/test/PART.tap or .json.
PARTS := $(patsubst tests/kit/%.bats,kit-%,$(wildcard tests/kit/*.bats)) \
    $(foreach s,$(WANTED),asan-$(s) plain-$(s) starter-$(s) mutants-$(s))
# FULL=1: every mutant, not only three of each stage; starters TODO by TODO.
FULL ?=

test: tools
	@rm -rf build/test && mkdir -p build/test
	@$(MAKE) --no-print-directory -j $(JOBS) $(PARTS)
	@scripts/summary build/test/*.tap build/test/asan/*.json build/test/plain/*.json

kit-%:
	@scripts/bats --formatter tap tests/kit/$*.bats >build/test/$@.tap 2>&1; echo '  $@'
asan-%:
	@scripts/check -s solutions -o build/test/asan $* >/dev/null; echo '  $@'
plain-%:
	@scripts/check -s solutions -b plain -o build/test/plain $* >/dev/null; echo '  $@'
starter-%:
	@scripts/starter-fails $(if $(FULL),-s) $* >build/test/$@.tap 2>&1; echo '  $@'
mutants-%:
	@scripts/mutants -m $(if $(FULL),required,quick) -o build/test $* >build/test/$@.tap 2>&1; echo '  $@'

mutants: tools
	@for stage in $(WANTED); do scripts/mutants -m full -o build/test $$stage; done \
	    | tee build/mutants.tap; scripts/summary build/mutants.tap

starters:
	@scripts/starters $(if $(STAGE),$(WANTED))

tools:
	@$(MAKE) --no-print-directory -s -C tests/tools

clean:
	rm -rf build
	@for stage in labs/* solutions/*; do $(MAKE) -s -C $$stage clean; done
