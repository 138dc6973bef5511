package natsengine_test

import (
	"flag"
	"testing"
)

// TestMain runs more tests side by side than there are processors: most wait for disks, elections and expiry most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue {
		_ = flag.Set("test.parallel", "5") // a number is always taken
	}
	m.Run()
}
