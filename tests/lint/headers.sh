#!/bin/sh
# Every header compiles alone: headers.sh CC GENERATED
cd "$(dirname "$0")/../.." || exit 1
failed=0
for header in $(git ls-files 'common/*.h' 'protocol/*.h' 'broker/*.h' 'client/*.h' 'tests/support/*.h'); do
    printf '#include "%s"\n' "$header" |
        $1 -std=c11 -D_GNU_SOURCE -I. -I"$2" -Wall -Wextra -Wpedantic -Werror -Wno-unused-variable -fsyntax-only \
            -x c - || { echo "$header does not compile alone"; failed=1; }
done
exit $failed
