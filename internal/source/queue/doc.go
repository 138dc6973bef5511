// Package queue takes events from SQS queues: long polls, visibility extended while events are worked on, and deletes of what was accepted alone.
//
// A message that is not accepted stays the queue's: it becomes visible again after a while, longer each time, and the queue's own redrive policy moves it to
// its dead-letter queue in the end. In a FIFO queue what is behind it in its group waits. The package creates no queue and changes none.
package queue
