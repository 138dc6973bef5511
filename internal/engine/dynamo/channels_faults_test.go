package dynamo

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"eureka"
	"eureka/internal/awslocal"
)

func mustCreate(t *testing.T, e *Engine, ch eureka.Channel) eureka.Channel {
	t.Helper()
	created, err := e.Channels().Create(t.Context(), ch)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func searchIDs(t *testing.T, e *Engine, words string) []string {
	t.Helper()
	page, err := e.Channels().List(t.Context(), eureka.ChannelQuery{Text: words, Paging: eureka.Paging{Limit: 100}})
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, ch := range page.Items {
		ids = append(ids, ch.ID)
	}
	return ids
}

// TestCreateByMany: of 200 callers that create a channel with the same id at the same time one succeeds, and the others leave nothing in the way.
func TestCreateByMany(t *testing.T) {
	t.Parallel()
	at, name := endpoint(t), newTestTable(t)
	engines := []*Engine{testEngine(t, at, name, nil), testEngine(t, at, name, nil)}
	var won atomic.Pointer[eureka.Channel]
	var winners atomic.Int64
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			ch, err := engines[i%2].Channels().Create(t.Context(), eureka.Channel{
				ID: "wanted", Alias: fmt.Sprintf("alias-%d", i), Service: fmt.Sprintf("service-%d", i), Name: "of many", CreatedAt: int64(i),
			})
			switch eureka.CodeOf(err) {
			case "":
				winners.Add(1)
				won.Store(&ch)
			case eureka.CodeConflict:
			default:
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	all.Wait()
	channels, _ := checkChannels(t, engines[0])
	if winners.Load() != 1 || len(channels) != 1 {
		t.Fatalf("%d callers succeeded, there are %d channels", winners.Load(), len(channels))
	}
	if ch := channels["wanted"]; ch != *won.Load() {
		t.Errorf("%+v is stored, the winner was told %+v", ch, *won.Load())
	}
	searchIDs(t, engines[0], "alias") // cleans up behind the losers
	for i := range 200 {
		if alias := fmt.Sprintf("alias-%d", i); alias != won.Load().Alias {
			mustCreate(t, engines[0], eureka.Channel{ID: alias}) // it is free
		}
	}
}

// crash is an operation of several writes, tried on a channel "c" and a channel "other".
type crash struct {
	name string
	run  func(ctx context.Context, c eureka.Channels) error
	// again are the codes that the same operation may get when it is repeated after a crash: that of a success, and that of an operation that was
	// carried out already.
	again []eureka.Code
	words []string // to search for, which also cleans up
}

var crashes = []crash{
	{"create", func(ctx context.Context, c eureka.Channels) error {
		_, err := c.Create(ctx, eureka.Channel{ID: "new", Alias: "new-alias", Service: "s", ModelType: "m", Name: "some new words", CreatedAt: 5})
		return err
	}, []eureka.Code{"", eureka.CodeConflict}, []string{"new", "some", "words", "s", "m", "alias"}},
	{"create with a number", func(ctx context.Context, c eureka.Channels) error {
		_, err := c.Create(ctx, eureka.Channel{Alias: "new-alias", Name: "some new words", CreatedAt: 5})
		return err
	}, []eureka.Code{"", eureka.CodeConflict}, []string{"new", "some", "words", "alias", "1000001"}},
	{"create over a deleted channel", func(ctx context.Context, c eureka.Channels) error {
		_, err := c.Create(ctx, eureka.Channel{ID: "gone", Service: "s", ModelType: "m", Name: "some new words", CreatedAt: 5})
		return err
	}, []eureka.Code{"", eureka.CodeConflict}, []string{"gone", "some", "words", "new", "s", "m"}},
	{"update", func(ctx context.Context, c eureka.Channels) error {
		ch, err := c.Get(ctx, "c")
		if err != nil {
			return err
		}
		ch.Alias, ch.Service, ch.ModelID, ch.Name, ch.CreatedAt = "second", "t", "8", "later and other words", 9
		ch.Revision = revisionBefore
		_, err = c.Update(ctx, ch)
		return err
	}, []eureka.Code{"", eureka.CodeConflict}, []string{"first", "earlier", "words", "later", "second", "s", "t", "7", "8", "and", "other"}},
	{"delete", func(ctx context.Context, c eureka.Channels) error {
		_, err := c.Delete(ctx, "c", 10)
		return err
	}, []eureka.Code{"", eureka.CodeNotFound}, []string{"c", "first", "earlier", "words", "s", "m", "7"}},
}

// revisionBefore is the revision of channel "c" in crash tests, whose clock stands still at first.
const revisionBefore = 1_700_000_000_000_000

// TestCrash kills the caller of each operation after each of its writes. At any time what lists and names show is as before or as after the operation,
// repeating it works, and what it left behind is cleaned up by those who come across it.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, tt := range crashes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxy := proxied(t, 1)
			for writes := 0; ; writes++ {
				if writes == 60 {
					t.Fatal("the operation does not end")
				}
				if tt.crashAfter(t, proxy, writes) {
					if writes < 3 {
						t.Errorf("the operation has %d writes; this test is about more", writes)
					}
					return
				}
			}
		})
	}
}

// crashAfter reports whether the operation ended before it could be killed.
func (tt crash) crashAfter(t *testing.T, proxy *awslocal.Proxy, writes int) bool {
	t.Helper()
	name, clock := newTestTable(t), newTestClock()
	clock.nanos.Store(revisionBefore * 1000)
	victim, e := testEngine(t, proxy.Endpoint, name, clock.option), testEngine(t, endpoint(t), name, clock.option)
	mustCreate(t, e, eureka.Channel{ID: "c", Alias: "first", Service: "s", ModelType: "m", ModelID: "7", Name: "earlier words", CreatedAt: 1})
	mustCreate(t, e, eureka.Channel{ID: "other", Name: "other words", CreatedAt: 2})
	mustCreate(t, e, eureka.Channel{ID: "gone", Alias: "gone-alias", Name: "gone words", CreatedAt: 3})
	if _, err := e.Channels().Delete(t.Context(), "gone", 4); err != nil {
		t.Fatal(err)
	}
	before, _ := checkChannels(t, e)

	proxy.Reset()
	proxy.CrashAfter(writes)
	err := tt.run(t.Context(), victim.Channels())
	proxy.CrashAfter(-1)
	after, _ := checkChannels(t, e)
	if changed := !maps.Equal(before, after); changed != (err == nil) {
		t.Errorf("after %d writes: changed is %t, the error is %v", writes, changed, err)
	}
	// Whatever stands there now is what lists and searches show.
	for _, word := range tt.words {
		checkSearch(t, e, word, after)
	}
	if again := eureka.CodeOf(tt.run(t.Context(), e.Channels())); !slices.Contains(tt.again, again) {
		t.Errorf("after %d writes: repeating it gives %q", writes, again)
	}
	final, _ := checkChannels(t, e)
	clock.advance(2 * time.Hour) // nobody is at it any more
	for range 3 {                // a search cleans up a bounded number of entries
		for _, word := range tt.words {
			checkSearch(t, e, word, final)
		}
	}
	if _, stale := checkChannels(t, e); len(stale) > 0 {
		t.Errorf("after %d writes: entries of words are left: %q", writes, stale)
	}
	return proxy.Usage().Crashed == 0
}

// checkSearch checks that a search finds exactly the channels with a word that begins so.
func checkSearch(t *testing.T, e *Engine, word string, channels map[string]eureka.Channel) {
	t.Helper()
	want := []string{}
	for id, ch := range channels {
		if slices.ContainsFunc(wordsOf(ch), func(w string) bool { return strings.HasPrefix(w, word) }) {
			want = append(want, id)
		}
	}
	slices.Sort(want)
	got := searchIDs(t, e, word)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%q finds %q, want %q", word, got, want)
	}
}

// TestWordComesBack: a writer that takes a word away is overtaken by one that brings it back, and removes nothing.
func TestWordComesBack(t *testing.T) {
	t.Parallel()
	name := newTestTable(t)
	proxy := proxied(t, 1)
	slow, quick := testEngine(t, proxy.Endpoint, name, nil), testEngine(t, endpoint(t), name, nil)
	ch := mustCreate(t, quick, eureka.Channel{ID: "c", Name: "word"})
	var once sync.Once
	proxy.Hold(func(operation string, _ []byte) {
		if operation != "DeleteItem" {
			return
		}
		once.Do(func() {
			back, err := quick.Channels().Get(t.Context(), "c")
			if err != nil || back.Name != "" {
				t.Errorf("the slow writer has not written: %+v, %v", back, err)
			}
			back.Name = "word"
			if _, err := quick.Channels().Update(t.Context(), back); err != nil {
				t.Error(err)
			}
		})
	})
	ch.Name = ""
	if _, err := slow.Channels().Update(t.Context(), ch); err != nil {
		t.Fatal(err)
	}
	once.Do(func() { t.Error("the slow writer removed nothing") })
	if got := searchIDs(t, quick, "word"); !slices.Equal(got, []string{"c"}) {
		t.Errorf("the word finds %q", got)
	}
	checkChannels(t, quick)
}

// TestWritersUnderFaults lets many writers change the same few channels while DynamoDB throttles, cuts connections and loses answers.
func TestWritersUnderFaults(t *testing.T) {
	t.Parallel()
	name := newTestTable(t)
	proxy := proxied(t, 3)
	proxy.Set(awslocal.Faults{Throttle: 0.1, Cut: 0.05, Lose: 0.05, Unprocessed: 0.2})
	engines := []*Engine{testEngine(t, proxy.Endpoint, name, nil), testEngine(t, proxy.Endpoint, name, nil)}
	var numbers sync.Map
	var done atomic.Int64
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			c := engines[w%2].Channels()
			pick := func(s ...string) string { return s[random.IntN(len(s))] }
			for range 25 {
				ch := eureka.Channel{
					ID: pick("", "a", "b"), Alias: pick("", "", "x", "y", "a"), Service: pick("", "s", "t"), ModelType: pick("m", "o"),
					Name: pick("one", "two", "one two", ""), CreatedAt: random.Int64N(3),
				}
				var err error
				switch random.IntN(4) {
				case 0, 1:
					if ch, err = c.Create(t.Context(), ch); err == nil && ch.ID[0] == '1' {
						if _, twice := numbers.LoadOrStore(ch.ID, true); twice {
							t.Errorf("number %s was given twice", ch.ID)
						}
					}
				case 2:
					var old eureka.Channel
					if old, err = c.Get(t.Context(), pick("a", "b", "x", "y")); err == nil {
						ch.ID, ch.Revision = old.ID, old.Revision
						_, err = c.Update(t.Context(), ch)
					}
				case 3:
					_, err = c.Delete(t.Context(), pick("a", "b"), 1)
				}
				switch eureka.CodeOf(err) {
				case "":
					done.Add(1)
				case eureka.CodeConflict, eureka.CodeNotFound, eureka.CodeInvalid, eureka.CodeUnavailable:
				default:
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	all.Wait()
	proxy.Set(awslocal.Faults{})
	channels, _ := checkChannels(t, engines[0])
	for _, word := range []string{"one", "two", "s", "m", "x", "a", "10"} {
		checkSearch(t, engines[0], word, channels)
	}
	if done.Load() < 40 {
		t.Errorf("only %d operations succeeded", done.Load())
	}
}

// TestImportedNumbers: where thousands of numbers are in use as ids the next free one is found soon.
func TestImportedNumbers(t *testing.T) {
	t.Parallel()
	e := testEngine(t, endpoint(t), newTestTable(t), nil)
	var taken []item
	for i := range 700 {
		ch := eureka.Channel{ID: fmt.Sprint(eureka.FirstChannelNumber + i)}
		taken = append(taken, channelItem(ch, nameKey(ch.ID)))
	}
	if err := e.table.batchWrite(t.Context(), taken, nil); err != nil {
		t.Fatal(err)
	}
	first := mustCreate(t, e, eureka.Channel{})
	second := mustCreate(t, e, eureka.Channel{})
	if first.ID < fmt.Sprint(eureka.FirstChannelNumber+700) || second.ID <= first.ID {
		t.Errorf("the first free numbers are %s and %s", first.ID, second.ID)
	}
}

// TestRevisionsNeverComeAgain: an id that is used again goes on with its revisions, even where the clock is behind that of who used it before.
func TestRevisionsNeverComeAgain(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	e := testEngine(t, endpoint(t), newTestTable(t), clock.option)
	old := mustCreate(t, e, eureka.Channel{ID: "a", Name: "first"})
	old, err := e.Channels().Update(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Channels().Delete(t.Context(), "a", 1); err != nil {
		t.Fatal(err)
	}
	clock.advance(-time.Hour)
	if again := mustCreate(t, e, eureka.Channel{ID: "a", Name: "second"}); again.Revision <= old.Revision {
		t.Errorf("revision %d comes after %d", again.Revision, old.Revision)
	}
	if _, err := e.Channels().Update(t.Context(), old); eureka.CodeOf(err) != eureka.CodeConflict {
		t.Errorf("an update of the deleted one: %v", err)
	}
	if _, stale := checkChannels(t, e); len(stale) != 0 {
		t.Errorf("words of the deleted one: %q", stale)
	}
}
