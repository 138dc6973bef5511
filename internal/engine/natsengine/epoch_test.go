package natsengine

import "testing"

// TestEpochSyncsWhatWasLeft: what a killed run left unsynced is synced by the next one, which vouches for all that is stored.
func TestEpochSyncsWhatWasLeft(t *testing.T) {
	for _, tt := range []struct {
		name        string
		first, then bool // sync always
		clean, want bool
	}{
		{"killed, then sync always", false, true, false, true},
		{"stopped, then sync always", false, true, true, false},
		{"stopped, no sync", false, false, true, false},
		{"killed, synced before", true, true, false, false},
		{"killed, no sync", false, false, false, true},
	} {
		dir, synced := t.TempDir(), false
		note := func() error { synced = true; return nil }
		epoch, kept, err := openEpoch(dir, tt.first, note)
		if err != nil || kept || synced {
			t.Fatalf("%s: at first: kept %v, synced %v, %v", tt.name, kept, synced, err)
		}
		if tt.clean {
			if err := closeEpoch(dir, epoch); err != nil {
				t.Fatal(err)
			}
		}
		again, kept, err := openEpoch(dir, tt.then, note)
		if bootID() == "" && !tt.clean && !tt.first {
			continue // there nothing is kept
		}
		if err != nil || !kept || again != epoch || synced != tt.want {
			t.Errorf("%s: kept %v, synced %v, %v", tt.name, kept, synced, err)
		}
	}
}
