//go:build race

package app

// raceDetector says that the tests run with the race detector, and several times slower.
const raceDetector = true
