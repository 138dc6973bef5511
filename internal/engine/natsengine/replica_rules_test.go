package natsengine

import (
	"fmt"
	"testing"

	"eureka"
)

// BenchmarkChannelsOf finds the channels of one model among 100,000.
func BenchmarkChannelsOf(b *testing.B) {
	for _, matching := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(matching), func(b *testing.B) {
			m := models{channels: map[eureka.Origin]map[string]*eureka.Channel{}}
			for i := range 100_000 {
				ch := &eureka.Channel{ID: fmt.Sprint(1000001 + i), Service: "orders", ModelType: "other", ModelID: fmt.Sprint(i)}
				if i < matching {
					ch.ModelType, ch.ModelID = "order", ""
				}
				m.change(nil, ch)
			}
			b.ResetTimer()
			for range b.N {
				if got := len(m.of(eureka.Origin{Service: "orders", ModelType: "order", ModelID: "7"})); got != matching {
					b.Fatal(got)
				}
			}
		})
	}
}
