#!/bin/sh
# Who may include whom: common <- protocol <- client; common, protocol <- broker/log <- broker/topic <- broker/api;
# broker/net knows frames, not APIs.  Prints every include that goes against the arrows.
cd "$(dirname "$0")/../.." || exit 1
bad=$(mktemp) || exit 1
trap 'rm -f "$bad"' EXIT

# forbid FOLDER PATTERN: no file below FOLDER includes a path matching the extended regular expression
forbid() {
    find "$1" -name '*.[ch]' -exec grep -nE "^#include \"($2)" {} + >>"$bad"
}
forbid common '(protocol|broker|client|msg|tests)/'
forbid protocol '(broker|client|tests)/'
forbid client '(broker|tests)/'
forbid broker '(client|tests)/'
forbid broker/net '(protocol|msg|broker/(api|log|topic|metadata))/'
forbid broker/log '(msg|broker/(api|net|topic|metadata))/|protocol/(api|message|frame)'
forbid broker/topic 'broker/(api|net)/'
forbid broker/metadata 'broker/(api|net)/'
if [ -s "$bad" ]; then
    echo "includes against the layers (see tests/lint/layers.sh):"
    cat "$bad"
    exit 1
fi
