#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the image of the assignment. Its Ubuntu
# 22.04 has bats 1.2.1, which is too old; npm has a newer one.
set -eu
apt-get update
apt-get install -y --no-install-recommends gcc make binutils procps npm
cd /autograder/source/lab
npm install --no-audit --no-fund --prefix .local bats
make tools
