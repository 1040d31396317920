#!/bin/sh
# Installs the compilers and interpreters of every language that the sandbox ships and Debian packages, for the slow tests.
# Run it as root on Debian or Ubuntu. Julia comes as an archive from its own site, unpacked over /usr/local.
set -eu
cd "$(dirname "$0")/../trl_gift/sandbox/language_files"
apt-get update
# shellcheck disable=SC2046  # one word for each package
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(sed -n 's/^package: //p' ./*.yaml)
