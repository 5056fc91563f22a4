// A modbus-serial client (the library inside Node-RED and others): node modbus_serial_client.js PORT
// One line per check, `ok SENTENCE` or `not ok SENTENCE: why`; exit status 1 when any is not ok.
"use strict";
const assert = require("node:assert/strict");
const ModbusRTU = require("modbus-serial");

const client = new ModbusRTU();
let failures = 0;

async function check(sentence, body) {
  try {
    await body();
    console.log(`ok ${sentence}`);
  } catch (error) {
    failures += 1;
    console.log(`not ok ${sentence}: ${error.message.split("\n")[0]}`);
  }
}

const refused = (promise, code) => assert.rejects(promise, (error) => error.modbusCode === code);

async function main() {
  await client.connectTCP("127.0.0.1", { port: Number(process.argv[2]) });
  client.setID(1);
  client.setTimeout(3000);

  await check("02 reads discrete inputs", async () => {
    const { data } = await client.readDiscreteInputs(0, 6);
    assert.deepEqual(data.slice(0, 6), [false, true, true, false, false, true]);
  });
  await check("04 reads input registers", async () => {
    assert.deepEqual((await client.readInputRegisters(0, 3)).data, [555, 0, 0xff06]);
  });
  await check("03 reads the float 123.456", async () => {
    const { buffer } = await client.readHoldingRegisters(100, 2);
    assert.ok(Math.abs(buffer.readFloatBE(0) - 123.456) < 0.001);
  });
  await check("05 writes a coil, 01 reads it back", async () => {
    await client.writeCoil(12, true);
    assert.deepEqual((await client.readCoils(11, 3)).data.slice(0, 3), [false, true, false]);
    await client.writeCoil(12, false);
    assert.deepEqual((await client.readCoils(11, 3)).data.slice(0, 3), [false, false, false]);
  });
  await check("15 writes coils, 01 reads them back", async () => {
    const values = Array.from({ length: 1900 }, (_, i) => (i * 5) % 7 < 3);
    await client.writeCoils(33, values);
    assert.deepEqual((await client.readCoils(33, 1900)).data.slice(0, 1900), values);
  });
  await check("06 writes a register, 03 reads it back", async () => {
    await client.writeRegister(16, 1500);
    assert.deepEqual((await client.readHoldingRegisters(15, 3)).data, [0, 1500, 0]);
  });
  await check("16 writes 123 registers, 03 reads 125 back", async () => {
    const values = Array.from({ length: 123 }, (_, i) => (i * 523 + 7) & 0xffff);
    await client.writeRegisters(200, values);
    assert.deepEqual((await client.readHoldingRegisters(200, 125)).data, [...values, 0, 0]);
  });
  await check("22 writes under a mask", async () => {
    await client.writeRegister(30, 0x1234);
    await client.maskWriteRegister(30, 0xfff0, 0x0005);
    assert.deepEqual((await client.readHoldingRegisters(30, 1)).data, [0x1235]);
  });
  await check("43/14 tells vendor, product and revision", async () => {
    const { data } = await client.readDeviceIdentification(1, 0);
    assert.deepEqual([data[0], data[1], data[2]], ["Acme", "GW-1", "1.0"]);
  });

  await check("8 reads at once are all answered, each with its own", async () => {
    await client.writeRegisters(600, Array.from({ length: 100 }, (_, i) => 600 + i));
    for (let round = 0; round < 25; round++) {
      const reads = Array.from({ length: 8 }, (_, i) => client.readHoldingRegisters(600 + 10 * i + (round % 3), 2 + i));
      (await Promise.all(reads)).forEach(({ data }, i) => {
        const first = 600 + 10 * i + (round % 3);
        assert.deepEqual(data, Array.from({ length: 2 + i }, (_, j) => first + j));
      });
    }
  });
  await check("a write among reads at once is executed", async () => {
    for (let round = 0; round < 25; round++) {
      const [, , , after] = await Promise.all([
        client.readHoldingRegisters(600, 10),
        client.readInputRegisters(0, 3),
        client.writeRegister(590, round),
        client.readHoldingRegisters(590, 1),
      ]);
      assert.deepEqual(after.data, [round]);
    }
  });

  await check("an address behind the end is refused with 02", () => refused(client.readHoldingRegisters(3000, 1), 2));
  await check("a write to a read-only register is refused with 02", () => refused(client.writeRegister(500, 1), 2));
  await check("too many registers are refused with 03", () => refused(client.readHoldingRegisters(0, 126), 3));
  await check("an unknown unit is refused with 0A", async () => {
    client.setID(77);
    await refused(client.readHoldingRegisters(0, 1), 10);
    client.setID(1);
  });
  client.close(() => process.exit(failures ? 1 : 0));
}

main().catch((error) => {
  console.log(`not ok ${error.stack}`);
  process.exit(1);
});
