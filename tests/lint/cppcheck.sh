#!/bin/sh
# cppcheck.sh GENERATED
cd "$(dirname "$0")/../.." || exit 1
command -v cppcheck >/dev/null || { echo "cppcheck is not installed"; exit 1; }
git ls-files 'common/*.c' 'protocol/*.c' 'broker/*.c' 'client/*.c' |
    xargs cppcheck --quiet --std=c11 -j 2 -I. -I"$1" -D_GNU_SOURCE -D__x86_64__ -DPENSTOCK_VERSION='"x"' \
        --enable=warning,portability --inline-suppr --error-exitcode=1 \
        --suppress=missingIncludeSystem --suppress=preprocessorErrorDirective --suppress='*:*/gen/*' \
        --suppress=nullPointerArithmeticRedundantCheck
