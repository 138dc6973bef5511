// Package rule compiles and evaluates rules: filters and transforms of channels, filters of subscriptions, and rules of access. They are
// written in CEL, the Common Expression Language.
//
// A rule is compiled once and kept by its text. It can neither loop nor reach anything but the subject it is given; its length, its estimated and
// its actual cost, its memory and its result are bounded. [Set] finds the filters that a message passes without asking each of them. The package
// never decides what follows from a result, and never does I/O beyond a log line.
package rule
