// Package repotest has the rules of the repository as functions over a source tree, and tests that hold this tree against them:
// import rules, budgets, comments, links. It never changes a file, and is linked into no binary.
package repotest
