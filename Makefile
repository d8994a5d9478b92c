# The commands of the lab. `make` alone tells where you stand, `make help` lists
# them all. What a learner needs is in scripts/lab; it finds the words of the
# command line (STAGE=01) in its environment, and says what is wrong with them.

.PHONY: board
board:
	@scripts/lab

LEARNERS := help doctor run hint diff solution reset submit dist
.PHONY: $(LEARNERS)
$(LEARNERS):
	@scripts/lab $@

TESTING := check watch bench
.PHONY: $(TESTING)
$(TESTING): tools
	@scripts/lab $@

.DEFAULT:
	@scripts/lab $@

# --- for authors, and for the curious

.PHONY: test explore fuzz grade mutants accepted soak walk starters tools bats clean author
test mutants accepted soak walk starters: author
author:
	@scripts/lab author

STAGES := $(notdir $(wildcard labs/[0-9]*))
WANTED := $(if $(STAGE),$(filter $(STAGE) 0$(STAGE)-% $(STAGE)-%,$(STAGES)),$(STAGES))
LAB    ?= labs
# Tests wait more than they compute.
JOBS   ?= $(shell echo $$((3 * $$(nproc))))
# FULL=1: every mutant, not only one of each stage; each starter TODO by TODO;
# the accepted solutions; a minute of mixed load for the web server. FULL=0 is none.
override FULL := $(filter-out 0,$(FULL))
export FULL
$(if $(FULL),$(eval export MIXED_SECONDS := 60))

# The kit's own tests. Each part writes build/test/PART.tap or .json.
PARTS := $(patsubst tests/kit/%.bats,kit-%,$(wildcard tests/kit/*.bats)) \
    $(foreach s,$(WANTED),asan-$(s) plain-$(s) walk-$(s) mutants-$(s) \
    $(if $(FULL),accepted-$(s)))

test: tools bats
	@rm -rf build/test && mkdir -p build/test
	@$(MAKE) --no-print-directory -j $(JOBS) $(PARTS)
	@scripts/summary $(foreach p,$(filter-out asan-% plain-%,$(PARTS)),build/test/$p.tap) \
	    $(foreach s,$(WANTED),build/test/asan/$s.json build/test/plain/$s.json)

kit-%:
	@scripts/bats --formatter tap tests/kit/$*.bats >build/test/$@.tap 2>&1; echo '  $@'
asan-%:
	@scripts/check -s solutions -o build/test/asan $* >/dev/null; echo '  $@'
plain-%:
	@scripts/check -s solutions -b plain -o build/test/plain $* >/dev/null; echo '  $@'
walk-%:
	@scripts/walk $(if $(FULL),,-1) $* >build/test/$@.tap 2>&1; echo '  $@'
mutants-%:
	@scripts/mutants -m $(if $(FULL),required,quick) -o build/test $* >build/test/$@.tap 2>&1; echo '  $@'
accepted-%:
	@scripts/accepted -o build/test $* >build/test/$@.tap 2>&1; echo '  $@'

# Runs threads in every order that matters: handouts/explorer.md.
explore:
	$(if $(filter 07-% 08-%,$(firstword $(WANTED))),,$(error only the queues can be \
	    explored: make explore STAGE=07, or STAGE=08; or see tests/explore/run -h))
	@tests/explore/run $(LAB)/$(firstword $(WANTED)) $(SCENARIO)

# Looks for an input that breaks the parser, for TIME seconds; needs clang.
fuzz:
	@LAB=$(LAB) TIME=$(or $(TIME),60) scripts/fuzz $(STAGE)

# Options of scripts/grade in GRADE, say GRADE='-f junit'.
grade: tools
	$(if $(SUBMISSION),,$(error which submission? make grade SUBMISSION=FOLDER_OR_ARCHIVE))
	@scripts/grade $(GRADE) "$$SUBMISSION" $(STAGE)

MUTANTS = $(patsubst tests/mutants/%.patch,%,$(wildcard $(WANTED:%=tests/mutants/%/*.patch)))
mutants: tools bats
	@rm -f build/test/mutants-*.tap; mkdir -p build/test
	@$(MAKE) --no-print-directory -j $(JOBS) $(MUTANTS:%=mutant/%)
	@scripts/matrix -o build/mutants.html build/test $(WANTED) | tee build/test/mutants-matrix.tap
	@echo 'the matrix: build/mutants.html'
	@scripts/summary $(patsubst %,build/test/mutants-%.tap,$(subst /,.,$(MUTANTS)) matrix)

mutant/%:
	@scripts/mutants -m full -o build/test $(*D) $(*F) >build/test/mutants-$(*D).$(*F).tap 2>&1
	@sed '/^1\.\./d; s/^\(not ok\|ok\) 1 /\1 /' build/test/mutants-$(*D).$(*F).tap

accepted: tools bats
	@for stage in $(WANTED); do scripts/accepted $$stage | tee build/accepted-$$stage.tap; done
	@scripts/summary $(WANTED:%=build/accepted-%.tap)

# N runs of every stage under load: is there a test that does not always say the same?
soak: tools bats
	@scripts/soak -n $(or $(N),100) $(WANTED)

walk: tools bats
	@for stage in $(WANTED); do scripts/walk $$stage | tee build/walk-$$stage.tap; done
	@scripts/summary $(WANTED:%=build/walk-%.tap)

starters:
	@scripts/starters $(if $(STAGE),$(WANTED))

tools:
	@scripts/doctor -q
	@$(MAKE) --no-print-directory -s -C tests/tools

# Before several parts run at once, of which each would try to get one.
bats:
	@scripts/bats --version >/dev/null

clean:
	rm -rf build
	@for stage in $(wildcard labs/[0-9]* solutions/[0-9]*); do $(MAKE) -s -C $$stage clean; done
