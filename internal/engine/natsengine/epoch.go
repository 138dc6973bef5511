package natsengine

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// epochFile is in the data directory beside the state of the NATS server in this process.
const epochFile = "epoch.json"

// epochState says whether what was stored may have been lost since the last run. NATS writes each message to the operating system before it
// confirms it, so a killed process loses nothing; a machine that went down may lose what was not synced, and with it the sequences would be given
// twice. Then a new epoch makes every cursor of before one that cannot be resumed from.
type epochState struct {
	Epoch string `json:"epoch"`
	Boot  string `json:"boot"`  // the machine's boot during which it was written; "" where that is not known
	Clean bool   `json:"clean"` // everything was synced and nothing was written since
	Sync  bool   `json:"sync"`  // each message was synced before it was confirmed
}

// openEpoch returns the epoch for a run that begins now. kept is whether it is the last run's. syncAll writes to the disk what a killed run left to the
// operating system: NATS syncs only what it writes itself, so a power cut could take it at any later time.
func openEpoch(dir string, syncAlways bool, syncAll func() error) (epoch string, kept bool, err error) {
	var last epochState
	text, err := os.ReadFile(filepath.Join(dir, epochFile)) //nolint:gosec // the operator's own directory
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", false, err
	case json.Unmarshal(text, &last) != nil:
		last = epochState{} // half written: the machine went down
	}
	boot := bootID()
	kept = last.Epoch != "" && (last.Clean || last.Sync || (boot != "" && last.Boot == boot))
	epoch = last.Epoch
	if !kept {
		epoch = randomID(16)
	}
	if kept && !last.Sync && !last.Clean {
		if err := syncAll(); err != nil {
			return "", false, err
		}
	}
	return epoch, kept, writeEpoch(dir, epochState{Epoch: epoch, Boot: boot, Sync: syncAlways})
}

// closeEpoch notes that the server has synced and stopped.
func closeEpoch(dir, epoch string) error {
	return writeEpoch(dir, epochState{Epoch: epoch, Boot: bootID(), Clean: true})
}

func writeEpoch(dir string, s epochState) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, epochFile)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // see above
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDirectory(dir) // else an older state may be there after a power cut
}

// bootID tells one boot of the machine from the next; "" on systems that do not say, where an unclean end counts as a loss.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
