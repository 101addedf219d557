// The round trip of ../README.md with kafkajs. It consumes through a group, all topics at once.
'use strict'
const fs = require('fs')
const path = require('path')
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const snappy = require('kafkajs-snappy')
const { ZstdCodec } = require('zstd-codec')

const TIMEOUT_MS = 60000
const MESSAGES_A_SEND = 50
const CODECS = { plain: 'None', none: 'None', gzip: 'GZIP', snappy: 'Snappy', zstd: 'ZSTD' }

const zstd = new Promise(resolve => ZstdCodec.run(resolve))
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(new (await zstd).Streaming().compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(new (await zstd).Streaming().decompress(buffer)),
})

const unhex = text => (text === '-' ? null : Buffer.from(text, 'hex'))
const hex = data => (data === null || data === undefined ? '-' : Buffer.from(data).toString('hex'))

function parse(line) {
  const [timestamp, key, value, pairs] = line.split('\t')
  const headers = {}
  for (const pair of pairs ? pairs.split(',') : []) {
    const [name, data] = pair.split('=').map(unhex)
    ;(headers[name.toString()] ||= []).push(data)
  }
  return { partition: 0, timestamp, key: unhex(key), value: unhex(value), headers }
}

function format({ offset, timestamp, key, value, headers }) {
  const pairs = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map(data => `${hex(name)}=${hex(data)}`))
  return `${offset}\t${timestamp}\t${hex(key)}\t${hex(value)}\t${pairs.join(',')}\n`
}

async function produce(kafka, topic, run, lines) {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 1 }] })
  await admin.disconnect()
  const isIdempotent = run !== 'plain'
  const producer = kafka.producer({ idempotent: isIdempotent, maxInFlightRequests: 1 })
  await producer.connect()
  const send = messages => messages.length &&
    producer.send({ topic, acks: isIdempotent ? -1 : 1, compression: CompressionTypes[CODECS[run]], messages })
  let batch = []
  for (const message of lines.map(parse)) {
    const isLarge = message.value && message.value.length > 100000
    if (isLarge || batch.length === MESSAGES_A_SEND) {
      await send(batch)
      batch = []
    }
    batch.push(message)
    if (isLarge) {
      await send(batch)
      batch = []
    }
  }
  await send(batch)
  await producer.disconnect()
}

// from: topic -> first offset; a promise of topic -> lines
async function read(kafka, groupId, from, end) {
  const consumer = kafka.consumer({ groupId })
  await consumer.connect()
  await consumer.subscribe({ topics: Object.keys(from), fromBeginning: true })
  const read = Object.fromEntries(Object.keys(from).map(topic => [topic, []]))
  let timer
  await new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error('read only ' + JSON.stringify(
      Object.entries(read).map(([topic, lines]) => [topic, lines.length])))), TIMEOUT_MS)
    consumer.on(consumer.events.CRASH, event => reject(event.payload.error))
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ topic, message }) => {
        if (Number(message.offset) < from[topic]) return // fetched before the seek
        read[topic].push(format(message))
        if (Object.entries(read).every(([name, lines]) => from[name] + lines.length >= end)) resolve()
      },
    }).catch(reject)
    for (const topic of Object.keys(from)) consumer.seek({ topic, partition: 0, offset: String(from[topic]) })
  })
  clearTimeout(timer)
  await consumer.disconnect()
  return read
}

async function consume(kafka, topics, out, fromOffset, fromTime, end) {
  const admin = kafka.admin()
  await admin.connect()
  const byOffset = {}
  const byTime = {}
  for (const topic of Object.keys(topics)) {
    byOffset[topic] = fromOffset
    byTime[topic] = Number((await admin.fetchTopicOffsetsByTimestamp(topic, fromTime))[0].offset)
  }
  await admin.disconnect()
  for (const [what, from] of [['offset', byOffset], ['time', byTime]]) {
    for (const [topic, lines] of Object.entries(await read(kafka, `round-trip-${what}`, from, end))) {
      fs.writeFileSync(path.join(out, `${topics[topic]}.${what}`), lines.join(''))
    }
  }
}

async function main([mode, bootstrap, messages, out, fromOffset, fromTime, prefix, ...runs]) {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR })
  const lines = fs.readFileSync(messages, 'utf8').split('\n').slice(0, -1)
  const topics = Object.fromEntries(runs.map(run => [`${prefix}-${run}`, run]))
  if (mode !== 'consume') {
    for (const [topic, run] of Object.entries(topics)) await produce(kafka, topic, run, lines)
  }
  if (mode !== 'produce') await consume(kafka, topics, out, Number(fromOffset), Number(fromTime), lines.length)
}

main(process.argv.slice(2)).catch(error => {
  console.error(error)
  process.exit(1)
})
