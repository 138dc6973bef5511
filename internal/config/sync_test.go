package config

import (
	"testing"
	"time"

	"eureka"
)

func TestSyncInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"always": 0, "10ms": 10 * time.Millisecond, "1h": time.Hour} {
		always, interval, err := Settings{Sync: text}.SyncInterval()
		if err != nil || always != (text == "always") || interval != want {
			t.Errorf("%s: %v, %s, %v", text, always, interval, err)
		}
	}
	for _, text := range []string{"", "never", "0s", "9ms", "61m", "-1s", "1"} {
		if _, _, err := (Settings{Sync: text}).SyncInterval(); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}
