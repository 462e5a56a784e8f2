# SPDX-License-Identifier: GPL-2.0
# What the scripts around series/ share. Sourced after lib.sh, never run.
# shellcheck shell=bash

# Below these the project keeps readable copies of the files that the patches add.
# shellcheck disable=SC2034
COPIES=(Documentation drivers include tools)
COVER=0000-cover-letter.txt		# not *.patch: "git am" takes no cover letter

# Who wrote the patches until somebody mails them, and when: fixed, so that the same
# commits always give the same text.
neutral() {
	export GIT_AUTHOR_NAME="IOMMU bounce buffers" GIT_AUTHOR_EMAIL=iommu-bounce-buffers@localhost
	export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
	export GIT_AUTHOR_DATE="1767225600 +0000" GIT_COMMITTER_DATE="1767225600 +0000"
}

# A hook or a rebase around us must not redirect our git elsewhere.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_PREFIX

# parts: their names, in order
parts() { (cd "$ROOT/series" && find . -mindepth 1 -maxdepth 1 -type d -name '[0-9]*' -printf '%P\n' | LC_ALL=C sort); }

# cover FILE: the subject of this cover letter, an empty line, the text above the list of patches
cover() {
	local body
	body=$(mktemp)
	git mailinfo "$body" /dev/null <"$1" | sed -n 's/^Subject: //p'
	echo
	sed '/^[^ ].* ([0-9]*):$/,$d' "$body"
	rm "$body"
}

# format_part REPO FROM BRANCH OPTION...: git format-patch, the same wherever it is run
format_part() {
	local attributes
	attributes=$(mktemp)
	echo '*.[ch] diff=cpp' >"$attributes"	# as the kernel's own
	git -C "$1" -c core.attributesFile="$attributes" -c core.abbrev=12 format-patch -q \
		--cover-letter --cover-from-description=subject --numbered --no-signature --no-signoff \
		--no-attach --no-notes --no-renames --diff-algorithm=histogram \
		"${@:4}" "$2..$3"
	rm "$attributes"
}
