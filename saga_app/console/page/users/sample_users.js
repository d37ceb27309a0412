// Random sample users for the New User button.

const FIRST =
  `Ada Alan Amara Anders Anika Aylin Beatriz Bengt Camille Carlos Chidi Chloe Dalia Daniel Diego Edda Elif Emeka Emma
Erik Farah Felix Freya Gabriel Greta Hana Hassan Hugo Ines Ingrid Isaac Jaime Jasper Jun Kaito Karim Katrin Lars Leila
Linh Lucia Mads Maja Malik Marta Mei Milan Mina Nadia Nils Noor Olga Omar Oskar Paloma Petra Priya Rafael Ravi Rosa
Sami Sara Selma Sofia Stefan Tariq Tessa Thabo Tomas Uma Valentin Vera Wanda Yara Yuki Zoe`.split(/\s+/);

const LAST =
  `Abara Acosta Andersen Araujo Aydin Bakker Banerjee Bauer Berg Bianchi Boateng Brandt Castillo Chen Costa Dahl Diaz
Dubois Eriksen Fischer Fontaine Garcia Haddad Hansen Hassan Holm Horvat Ibrahim Ivanova Jansen Kaya Keller Khan Kim
Kowalski Kruger Larsen Laurent Lindqvist Lopez Marino Mensah Meyer Moreau Nakamura Nguyen Novak Okafor Olsen Ortiz
Park Patel Pereira Popescu Rahman Reyes Rossi Saito Santos Schmidt Silva Singh Sorensen Suzuki Tanaka Torres Vargas
Vogel Weber Wójcik Yilmaz Zhang`.split(/\s+/);

/** @param {string[]} list */
const pick = (list) => list[Math.floor(Math.random() * list.length)];

/** @param {string} word */
const ascii = (word) => word.normalize("NFD").replace(/[^\w]/g, "").toLowerCase();

/** A user in one of `departments`. Mail to example.com is never delivered (RFC 2606). @param {string[]} departments */
export function randomUser(departments) {
  const [first, last] = [pick(FIRST), pick(LAST)];
  return {
    name: `${first} ${last}`,
    email: `${ascii(first)}.${ascii(last)}@example.com`,
    department: pick(departments),
  };
}
