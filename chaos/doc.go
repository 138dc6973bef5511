// Package chaos checks that the service keeps its promises of delivery while its processes are killed, stopped and started again. Actors
// publish and listen, faults happen around them, and everybody writes down what was said and heard. Judge then compares these transcripts
// with the promises. The actors and the faults are in the package's tests.
package chaos
