package dynamo

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"eureka"
)

// everything reads the whole table, which only a test does.
func everything(t *testing.T, e *Engine) map[key]item {
	t.Helper()
	all := map[key]item{}
	pages := dynamodb.NewScanPaginator(dial(endpoint(t)), &dynamodb.ScanInput{TableName: aws.String(e.table.name), ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range page.Items {
			all[item(it).key()] = it
		}
	}
	return all
}

// checkChannels checks everything that must hold of channels at any moment: each has its copies and the entries of its words, all the same, there
// is no copy of anything else, and the count is right. It returns the channels, and the entries of words that no channel has.
func checkChannels(t *testing.T, e *Engine) (channels map[string]eureka.Channel, stale []string) {
	t.Helper()
	all := everything(t, e)
	channels = map[string]eureka.Channel{}
	for k, it := range all {
		if strings.HasPrefix(k.pk, namePartition) && living(it) && nameKey(it.text(attrID)) == k {
			channels[it.text(attrID)] = channelOf(it)
		}
	}
	count := int64(0)
	for k, it := range all {
		switch {
		case k.pk == countPartition && strings.HasPrefix(k.sk, countPrefix):
			count += it.number(attrNumber)
		case strings.HasPrefix(k.pk, wordPartition):
			word, id := wordEntryID(k)
			if ch, ok := channels[id]; !ok || !slices.Contains(wordsOf(ch), word) {
				stale = append(stale, word+"#"+id)
			}
		}
	}
	for _, ch := range channels {
		copies := []key{nameKey(ch.ID), timeKey(ch.CreatedAt, ch.ID)}
		if ch.Alias != "" {
			copies = append(copies, nameKey(ch.Alias))
		}
		if k, ok := modelKey(ch); ok {
			copies = append(copies, k)
		}
		for _, k := range copies {
			if it, ok := all[k]; !ok {
				t.Errorf("channel %s has no copy at %v", ch.ID, k)
			} else if diff := cmp.Diff(ch, channelOf(it)); diff != "" {
				t.Errorf("channel %s, copy at %v (-channel +copy):\n%s", ch.ID, k, diff)
			}
			delete(all, k)
		}
		for _, word := range wordsOf(ch) {
			if all[wordKey(word, ch.ID)] == nil {
				t.Errorf("channel %s cannot be found by %q", ch.ID, word)
			}
		}
	}
	for k, it := range all {
		if copyOf := it.text(attrID); copyOf != "" && living(it) && !strings.HasPrefix(k.pk, wordPartition) {
			t.Errorf("%v is a copy of %s, which is not there or not so", k, copyOf)
		}
	}
	if int(count) != len(channels) {
		t.Errorf("%d channels are counted, there are %q", count, slices.Sorted(maps.Keys(channels)))
	}
	slices.Sort(stale)
	return channels, stale
}
