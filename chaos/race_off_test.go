//go:build !race

package chaos

// raceEnabled says that the tests run with the race detector; the binary is built with it then.
const raceEnabled = false
