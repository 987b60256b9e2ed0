# Every target is one call of lab.py: `make report ARGS="--profile full"`. `make` alone prints the verbs.
.PHONY: help report test check golden bench setup list show theory run train data verify new
help:
	@python3 lab.py
report test check golden bench setup list show theory run train data verify new:
	@python3 lab.py $@ $(ARGS)
