//go:build !linux

package lambda

import "time"

func processorTime(int) time.Duration { return 0 }
func peakMemory(int) float64          { return 0 }
