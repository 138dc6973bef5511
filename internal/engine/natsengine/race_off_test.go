//go:build !race

package natsengine_test

const raceDetector = false
