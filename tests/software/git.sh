# git: commits, branches, merge, gc, clone, bundle, worktree, blame, bisect.
#@ needs=git
#@ timeout=180
set -eu
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000' GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git init -q -b main repo; cd repo
for i in $(seq 1 20); do echo "line $i" >> file; mkdir -p dir$((i % 3)); echo $i > dir$((i % 3))/f$i; git add -A; git commit -qm "commit $i"; done
git log --oneline | head -3; git rev-list --count HEAD; git rev-parse HEAD
git checkout -qb side HEAD~5; echo other > other; git add other; git commit -qm side; git checkout -q main; git merge -q --no-edit side; git log --oneline --graph | head -4
git status --short; echo changed >> file; git diff --stat; git stash -q; git stash pop -q; git checkout -q file
git tag -a v1 -m one; git describe; git gc -q; git count-objects -v | grep -E 'in-pack|packs'; git fsck --strict 2>&1 | grep -v notice | head -3
cd ..; git clone -q repo copy; git -C copy log --oneline | wc -l; git clone -q --bare --no-local repo bare.git; git -C bare.git rev-parse main; git -C copy push -q ../bare.git main:pushed; git -C bare.git branch | sort
cd copy; git blame -s file | head -2; git bisect start HEAD HEAD~15 > /dev/null; git bisect run sh -c '! grep -q "line 12" file' | grep -c 'first bad'; git bisect reset > /dev/null 2>&1
git worktree add -q ../tree HEAD~3; ls ../tree | head -3; git bundle create -q ../b.bundle main; git bundle verify -q ../b.bundle && echo bundle; git grep -c 'line 1' -- file; git archive HEAD | tar -t | wc -l
git rm -q file; git commit -qm gone; git revert --no-edit HEAD > /dev/null; test -f file && echo back; git cherry-pick HEAD~1 > /dev/null; git reset -q --hard HEAD~1; git rebase -q HEAD~2; git log --format=%s | head -3
