package loadgen

// track is what one socket has received of one publisher on one channel.
type track struct {
	next uint32 // the number that comes next
	seen uint64 // which of the 64 numbers before it have come; bit 0 is next-1
}

// verdict is what a number says when it comes.
type verdict uint8

const (
	inOrder    verdict = iota
	skipped            // numbers before it are missing, so far
	late               // it was missing, and comes behind a later one
	duplicated         // it has come before
)

// take notes a number.
func (t *track) take(seq uint32) verdict {
	if seq >= t.next {
		ahead := seq - t.next + 1
		v := inOrder
		if ahead > 1 {
			v = skipped
		}
		if ahead >= 64 {
			t.seen = 0
		} else {
			t.seen <<= ahead
		}
		t.seen |= 1
		t.next = seq + 1
		return v
	}
	back := t.next - 1 - seq
	if back >= 64 || t.seen>>back&1 == 1 {
		return duplicated // one that is so late cannot be told from a double
	}
	t.seen |= 1 << back
	return late
}
