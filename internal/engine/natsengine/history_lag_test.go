package natsengine

import (
	"fmt"
	"testing"
	"testing/synctest"

	"eureka"
	"eureka/internal/protocol"
)

// TestAReplicaThatLags: a page has what the leader has, although the replica that answers comes to it little by little; one that never does leaves more to read.
func TestAReplicaThatLags(t *testing.T) {
	all := func(from, to uint64) (entries []entry) {
		for seq := from; seq <= to; seq++ {
			body, err := protocol.MessageBody(eureka.Message{Action: eureka.ActionMessage, Event: fmt.Sprint(seq), TS: 1})
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, entry{seq: seq, envelope: envelope{body: body}})
		}
		return entries
	}
	h := &history{epoch: "e"}
	for name, tt := range map[string]struct {
		has   []uint64 // up to where the replica has come at each read
		limit int
		want  uint64
		more  bool
	}{
		"at once":      {has: []uint64{9}, limit: 10, want: 9},
		"late":         {has: []uint64{4, 4, 6, 9}, limit: 10, want: 9},
		"late at all":  {has: []uint64{3, 3, 9}, limit: 10, want: 9},
		"full first":   {has: []uint64{4, 8, 9}, limit: 5, want: 8, more: true},
		"never enough": {has: []uint64{5}, limit: 10, want: 5, more: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reads := 0
				page, err := h.collect(t.Context(), "A", 3, tt.limit, func(pos uint64, limit int) ([]entry, int, bool, error) {
					has := tt.has[min(reads, len(tt.has)-1)]
					reads++
					return all(pos+1, min(has, pos+uint64(limit))), 0, has == 9 && pos+uint64(limit) >= 9, nil
				})
				if err != nil || page.Cursor != h.cursor("A", tt.want) || len(page.Messages) != int(tt.want-3) || page.More != tt.more {
					t.Errorf("%+v, %v", page, err)
				}
			})
		})
	}
}
